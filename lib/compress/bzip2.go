package compress

import (
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
)

// bzip2: streams follow each other. Four bytes would be enough for a magic, but "BZh9" may begin a text; what follows
// in a real one is always the first block or the end of an empty stream.
var bzip2Spec = &spec{
	name: "bzip2",
	match: func(h []byte) bool {
		return len(h) >= 10 && string(h[:3]) == "BZh" && '1' <= h[3] && h[3] <= '9' &&
			(string(h[4:10]) == "\x31\x41\x59\x26\x53\x59" || string(h[4:10]) == "\x17\x72\x45\x38\x50\x90")
	},
	open: func(src *input, _ Options) (io.Reader, func(), error) { return bzip2.NewReader(src.Reader), nil, nil },
	explain: func(err error, _ Options) error {
		var bad bzip2.StructuralError
		if errors.As(err, &bad) {
			return fmt.Errorf("%s: %w", string(bad), errdef.ErrCorrupt)
		}
		return nil
	},
}
