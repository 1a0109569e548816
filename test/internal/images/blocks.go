package images

// blockLife is writes into an image of 64 MiB whose format has blocks: over data, over holes, over the ends of blocks.
func blockLife(format string) [][]string {
	return [][]string{{"qemu-io", "-t", "unsafe", "-f", format,
		"-c", "write -P 1 10M 3M", "-c", "write -P 2 33553920 1k", "-c", "write -P 3 50M 512", "-c", "write -z 40M 1M", itself}}
}

// Flat is what has no tables.
var Flat = []Kind{
	{Name: "raw", Format: "raw", InOrder: true},
	{Name: "vhd-fixed", Format: "vpc", InOrder: true, Options: []string{"-o", "subformat=fixed,force_size=on"}},
}

// Blocks are the files of the formats that are blocks behind one table. Each begins as a disk of 64 MiB.
var Blocks = []Kind{
	{Name: "vhd", Format: "vpc"},
	{Name: "vhd-exact", Format: "vpc", Options: []string{"-o", "force_size=on"}},
	{Name: "vhd-life", Format: "vpc", Options: []string{"-o", "force_size=on"}, life: blockLife("vpc")},
	{Name: "vdi", Format: "vdi"},
	{Name: "vdi-static", Format: "vdi", Options: []string{"-o", "static=on"}},
	{Name: "vdi-life", Format: "vdi", life: blockLife("vdi")},
	{Name: "vhdx", Format: "vhdx"},
	{Name: "vhdx-1m", Format: "vhdx", Options: []string{"-o", "block_size=1M"}},
	{Name: "vhdx-256m", Format: "vhdx", Options: []string{"-o", "block_size=256M"}},
	{Name: "vhdx-fixed", Format: "vhdx", Options: []string{"-o", "subformat=fixed"}},
	{Name: "vhdx-life", Format: "vhdx", Options: []string{"-o", "block_size=2M"}, life: blockLife("vhdx")},
}
