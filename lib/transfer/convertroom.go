package transfer

import "context"

// makeRoom has a piece less in the hold.
func (c *converter) makeRoom(ctx context.Context) error {
	for c.hold.full() {
		c.settle()
		if c.hold.shrink() {
			continue
		}
		if c.co.Again == nil && c.flying > 0 {
			// Do not spool what only waits to be unpacked.
			if err := c.send(ctx); err != nil {
				return err
			}
			c.ledger.wait(ctx)
			c.settle()
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.hold.shrink() {
				continue
			}
		}
		if err := c.hold.evictFirst(c.flying); err != nil {
			return err
		}
	}
	return nil
}

// evict takes what was held longest.
func (c *converter) evict(off int64, p []byte) error {
	if c.co.Again != nil || c.co.Spool == nil {
		c.lost = true
		return nil
	}
	if c.spill.file == nil {
		f, err := c.co.Spool(c.mayWait(off))
		if err != nil {
			return err
		}
		c.spill.file = f
	}
	return c.spill.write(off, p)
}

// mayWait is how many bytes from off on may have to go to the spool: all but those that a table has named already. What
// packed runs name is not known to the byte, so they count. -1: nobody knows.
func (c *converter) mayWait(off int64) int64 {
	if c.co.Stored <= 0 {
		return -1
	}
	n := c.co.Stored - off
	for i := range c.ahead.n {
		if e := c.ahead.at(i); e.packed == 0 {
			n -= e.storedLength()
		}
	}
	return max(n, 0)
}
