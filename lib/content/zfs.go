package content

import "fmt"

const (
	zfsLabel  = 16 << 10 // of the pairs in the first label
	zfsName   = 64       // longest name of a pair that is looked at
	nvUint64  = 8
	nvString  = 9
	nvXDR     = 1
	nvNoNames = 20 // bytes of a pair before its name ends
)

// zfs is a member of a pool: the first label has pairs of names and values at 16 KiB, in the encoding of RFC 4506 (OpenZFS,
// module/nvpair/nvpair.c). Its pairs are in the order of their making: "version", "name", "state", "txg", "pool_guid".
func zfs(v *volume) *Filesystem {
	b := v.at(zfsLabel, 1024)
	if b == nil || b[0] != nvXDR || be.Uint32(b[4:]) != 0 || be.Uint32(b[8:]) != 1 {
		return nil
	}
	f := &Filesystem{Type: "zfs_member"}
	known := false
	for b = b[12:]; len(b) >= nvNoNames; {
		length, name := int64(be.Uint32(b)), int64(be.Uint32(b[8:]))
		value := 12 + (name+3)&^3
		if length == 0 || length > int64(len(b)) || name > zfsName || value+8 > length {
			break
		}
		kind, x := be.Uint32(b[value:]), b[value+8:length]
		switch string(b[12 : 12+name]) {
		case "version":
			if known = kind == nvUint64 && len(x) >= 8; known {
				f.Version = fmt.Sprint(be.Uint64(x))
			}
		case "name":
			if kind == nvString && len(x) >= 4 && int64(be.Uint32(x)) <= int64(len(x)-4) {
				f.Label = text(x[4:][:be.Uint32(x)])
			}
		case "pool_guid":
			if kind == nvUint64 && len(x) >= 8 {
				f.UUID = fmt.Sprint(be.Uint64(x))
			}
		}
		b = b[length:]
	}
	if !known {
		return nil
	}
	return f
}
