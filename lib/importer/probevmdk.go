package importer

import (
	"fmt"

	"github.com/cdictl/cdictl/lib/format"
)

// nameExtents gives a disk that is one file its name where qemu-img has it.
func (i *Info) nameExtents() {
	if i.FormatSpecific == nil || i.FormatSpecific.VMDK == nil {
		return
	}
	for k := range i.FormatSpecific.VMDK.Extents {
		if x := &i.FormatSpecific.VMDK.Extents[k]; x.Filename == "" && x.Format == "" {
			x.Filename = i.Filename
		}
	}
}

// maxLines is how many extents are listed for people.
const maxLines = 20

func vmdkLines(v *format.VMDKSpecific, line func(name, value string)) {
	line("create type", v.CreateType)
	line("content ID", fmt.Sprintf("%08x", v.CID))
	if v.ParentCID != 1<<32-1 {
		line("parent ID", fmt.Sprintf("%08x", v.ParentCID))
	}
	for k, x := range v.Extents {
		switch {
		case x.Format == "":
			continue // the file itself
		case k == maxLines:
			line("extents", fmt.Sprintf("%d more", len(v.Extents)-k))
			return
		}
		line("extent", fmt.Sprintf("%q %s, %s", x.Filename, x.Format, sizeText(x.VirtualSize)))
	}
}
