package testimage

// blockLife is writes on a disk of 9 MiB or more whose format has blocks and no zero clusters: over data, over holes,
// over the ends of blocks, aligned to nothing.
func blockLife(format string, more ...string) []string {
	line := []string{"qemu-io", "-t", "unsafe", "-f", format}
	for _, c := range append([]string{
		"write -P 0x11 100000 70000",
		"write -P 0x22 1M 300k",
		"write -P 0x44 7777777 512",
		"write -P 0x33 4095k 3k",
		"write -P 0x55 5M 1",
		"write -z 6M 100k",
	}, more...) {
		line = append(line, "-c", c)
	}
	return append(line, ImagePath)
}

// VHDCases are dynamic VHDs.
func VHDCases() []Case {
	const size = 9*mib + 512*7
	life := [][]string{blockLife("vpc")}
	return named("vpc", []Case{
		{Name: "dynamic", Size: size},
		{Name: "dynamic-exact", Size: size, Options: "force_size=on"},
		{Name: "life", Size: size, Life: life},
		{Name: "life-exact", Size: size, Options: "force_size=on", Life: life},
		{Name: "grown-from-nothing", Size: size, Blank: true, Life: life},
		{Name: "backwards", Size: size, Blank: true, Options: "force_size=on", Life: [][]string{
			{"qemu-io", "-f", "vpc", "-c", "write -P 1 8M 1M", "-c", "write -P 2 5M 64k", "-c", "write -P 3 0 2M", ImagePath},
		}},
		{Name: "empty", Size: size, Blank: true},
		{Name: "one-sector", Size: 512, Options: "force_size=on"},
		{Name: "whole-blocks", Size: 8 * mib, Options: "force_size=on"},
		{Name: "sparse", Size: 62*mib + 512, Options: "force_size=on", Blank: true, Life: [][]string{
			blockLife("vpc", "write -P 2 40M 1M", "write -P 3 50M 64k", "write -P 4 65011712 512"),
		}},
	})
}

// VDICases are VDIs of both types.
func VDICases() []Case {
	const size = 9*mib + 512*7
	life := [][]string{blockLife("vdi")}
	return named("vdi", []Case{
		{Name: "dynamic", Size: size},
		{Name: "static", Size: size, Options: "static=on"},
		{Name: "life", Size: size, Life: life},
		{Name: "life-static", Size: size, Options: "static=on", Life: life},
		{Name: "grown-from-nothing", Size: size, Blank: true, Life: life},
		{Name: "backwards", Size: size, Blank: true, Life: [][]string{
			{"qemu-io", "-f", "vdi", "-c", "write -P 1 8M 1M", "-c", "write -P 2 5M 64k", "-c", "write -P 3 0 2M", ImagePath},
		}},
		{Name: "empty", Size: size, Blank: true},
		{Name: "empty-static", Size: size, Blank: true, Options: "static=on"},
		{Name: "empty-0", Size: 0, Blank: true},
		{Name: "one-sector", Size: 512},
		{Name: "whole-blocks", Size: 8 * mib},
		{Name: "preallocated", Size: size, Options: "preallocation=full", Blank: true, Life: life},
		{Name: "sparse", Size: 62*mib + 512, Blank: true, Life: [][]string{
			blockLife("vdi", "write -P 2 40M 1M", "write -P 3 50M 64k", "write -P 4 65011712 512"),
		}},
	})
}

// VHDXCases are VHDXs of both types with every block size that is not too large for a test.
func VHDXCases() []Case {
	const size = 9*mib + 512*7
	life := [][]string{blockLife("vhdx")}
	return named("vhdx", []Case{
		{Name: "dynamic", Size: size},
		{Name: "fixed", Size: size, Options: "subformat=fixed"},
		{Name: "blocks-1m", Size: size, Options: "block_size=1M"},
		{Name: "blocks-2m", Size: size, Options: "block_size=2M", Life: life},
		{Name: "blocks-32m", Size: size, Options: "block_size=32M", Life: life},
		{Name: "fixed-1m", Size: size, Options: "subformat=fixed,block_size=1M", Life: life},
		{Name: "not-zero", Size: size, Options: "block_size=1M,block_state_zero=off", Blank: true, Life: life},
		{Name: "life", Size: size, Life: life},
		{Name: "grown-from-nothing", Size: size, Options: "block_size=1M", Blank: true, Life: life},
		{Name: "backwards", Size: size, Options: "block_size=1M", Blank: true, Life: [][]string{
			{"qemu-io", "-f", "vhdx", "-c", "write -P 1 8M 1M", "-c", "write -P 2 5M 64k", "-c", "write -P 3 0 2M", ImagePath},
		}},
		{Name: "log-3m", Size: size, Options: "log_size=3M", Life: life},
		{Name: "empty", Size: size, Blank: true},
		{Name: "empty-fixed", Size: size, Blank: true, Options: "subformat=fixed"},
		{Name: "one-sector", Size: 512},
		{Name: "whole-blocks", Size: 8 * mib, Options: "block_size=1M"},
		{Name: "sparse", Size: 62*mib + 512, Options: "block_size=2M", Blank: true, Life: [][]string{
			blockLife("vhdx", "write -P 2 40M 1M", "write -P 3 50M 64k", "write -P 4 65011712 512"),
		}},
	})
}

func named(format string, cases []Case) []Case {
	for i := range cases {
		cases[i].Format = format
	}
	return cases
}
