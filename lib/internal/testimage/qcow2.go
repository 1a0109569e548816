package testimage

const (
	mib = 1 << 20
)

// qemuIO is a line of a life: qemu-io with commands.
func qemuIO(commands ...string) []string {
	line := []string{"qemu-io", "-t", "unsafe", "-f", "qcow2"}
	for _, c := range commands {
		line = append(line, "-c", c)
	}
	return append(line, ImagePath)
}

func snapshot(name string) []string {
	return []string{"qemu-img", "snapshot", "-c", name, ImagePath}
}

func resize(by string) []string {
	return []string{"qemu-img", "resize", "-q", ImagePath, by}
}

// life is writes of every sort on a disk of at least 8 MiB: over data, over holes, compressed, zero and discard; aligned to
// nothing.
func life() []string {
	return qemuIO(
		"write -P 0x11 100000 70000",
		"write -P 0x22 1M 300k",
		"write -z 2M 200k",
		"write -z -u 2500k 129k",
		"discard 3M 256k",
		"write -P 0x33 3100k 1000",
		"write -P 0x44 7777777 512",
		"write -z 4096000 10240",
		"write -P 0x55 5M 1",
	)
}

// Qcow2Cases is every feature of qcow2 that we claim to read.
func Qcow2Cases() []Case {
	const size = 9*mib + 512*7
	// Compressed clusters can only be written where nothing is.
	grown := resize("+2M")
	compressed := qemuIO("write -c -P 0x66 10M 64k", "write -c -P 0x67 10304k 64k", "write -c -P 0x68 10432k 64k", "write -P 0x69 10310k 4k")
	return []Case{
		{Name: "v3", Size: size},
		{Name: "v2", Size: size, Options: "compat=0.10"},
		{Name: "v2-zlib", Size: size, Options: "compat=0.10", Compress: true},
		{Name: "cluster-512", Size: 5*mib + 512, Options: "cluster_size=512"},
		{Name: "cluster-4k", Size: size, Options: "cluster_size=4k"},
		{Name: "cluster-2m", Size: 21*mib + 1536, Options: "cluster_size=2M"},
		{Name: "zlib", Size: size, Compress: true},
		{Name: "zlib-512", Size: 3 * mib, Options: "cluster_size=512", Compress: true},
		{Name: "zlib-4k", Size: size, Options: "cluster_size=4k", Compress: true},
		{Name: "zlib-2m", Size: 11*mib + 512, Options: "cluster_size=2M", Compress: true},
		{Name: "zstd", Size: size, Options: "compression_type=zstd", Compress: true},
		{Name: "zstd-512", Size: 3 * mib, Options: "compression_type=zstd,cluster_size=512", Compress: true},
		{Name: "zstd-4k", Size: size, Options: "compression_type=zstd,cluster_size=4k", Compress: true},
		{Name: "zstd-2m", Size: 11*mib + 512, Options: "compression_type=zstd,cluster_size=2M", Compress: true},
		{Name: "extended-l2", Size: size, Options: "extended_l2=on"},
		{Name: "extended-l2-life", Size: size, Options: "extended_l2=on", Life: [][]string{life()}},
		{Name: "extended-l2-16k-life", Size: size, Options: "extended_l2=on,cluster_size=16k", Life: [][]string{life()}},
		{Name: "extended-l2-2m-blank-life", Size: 33 * mib, Options: "extended_l2=on,cluster_size=2M", Blank: true, Life: [][]string{life()}},
		{Name: "extended-l2-zstd-life", Size: size, Options: "extended_l2=on,compression_type=zstd", Compress: true, Life: [][]string{life(), grown, compressed}},
		{Name: "prealloc-metadata", Size: size, Options: "preallocation=metadata", Blank: true, Life: [][]string{life()}},
		{Name: "prealloc-metadata-ext", Size: size, Options: "preallocation=metadata,extended_l2=on", Blank: true, Life: [][]string{life()}},
		{Name: "prealloc-metadata-resized", Size: 1000448, Options: "preallocation=metadata", Blank: true, Life: [][]string{resize("+3M")}},
		{Name: "prealloc-falloc", Size: size, Options: "preallocation=falloc", Blank: true, Life: [][]string{qemuIO("write -P 7 1M 3M")}},
		{Name: "lazy-refcounts", Size: size, Options: "lazy_refcounts=on", Life: [][]string{life()}},
		{Name: "dirty", Size: size, Options: "lazy_refcounts=on", Life: [][]string{{"sh", "-c", "! qemu-io -f qcow2 -c 'write -P 9 3M 1M' -c flush -c abort \"$1\" 2>/dev/null", "sh", ImagePath}}},
		{Name: "refcount-1", Size: size, Options: "refcount_bits=1"},
		{Name: "refcount-64", Size: size, Options: "refcount_bits=64"},
		{Name: "life", Size: size, Life: [][]string{life()}},
		{Name: "life-512", Size: size, Options: "cluster_size=512", Life: [][]string{life()}},
		{Name: "life-2m", Size: size, Options: "cluster_size=2M", Life: [][]string{life()}},
		{Name: "life-v2", Size: size, Options: "compat=0.10", Life: [][]string{life()}},
		{Name: "life-zlib", Size: size, Compress: true, Life: [][]string{life(), grown, compressed}},
		{Name: "life-zstd", Size: size, Options: "compression_type=zstd", Compress: true, Life: [][]string{grown, compressed, life()}},
		{Name: "snapshot-active", Size: size, Life: [][]string{snapshot("before"), life()}},
		{Name: "snapshot", Size: size, Life: [][]string{snapshot("before"), life()}, Snapshot: "before"},
		{Name: "snapshot-zlib", Size: size, Compress: true, Life: [][]string{grown, snapshot("before"), life(), snapshot("ä b"), compressed}, Snapshot: "ä b"},
		{Name: "snapshot-v2", Size: size, Options: "compat=0.10", Life: [][]string{snapshot("before"), life()}, Snapshot: "before"},
		{Name: "snapshot-ext", Size: size, Options: "extended_l2=on", Life: [][]string{snapshot("before"), life()}, Snapshot: "before"},
		{Name: "resized", Size: size, Life: [][]string{resize("+200M")}},
		{Name: "resized-life", Size: size, Options: "cluster_size=4k", Life: [][]string{life(), resize("+325M"), qemuIO("write -P 0x77 300M 100k")}},
		{Name: "shrunk", Size: size, Life: [][]string{{"qemu-img", "resize", "-q", "--shrink", ImagePath, "4096512"}}},
		{Name: "amended", Size: size, Options: "compat=0.10", Life: [][]string{{"qemu-img", "amend", "-f", "qcow2", "-o", "compat=1.1", ImagePath}, life()}},
		{Name: "bitmap", Size: size, Life: [][]string{{"qemu-img", "bitmap", "--add", ImagePath, "b0"}, life()}},
		{Name: "empty", Size: 10 * mib, Blank: true},
		{Name: "empty-0", Size: 0, Blank: true},
		{Name: "one-sector", Size: 512},
		{Name: "sparse-1g", Size: 1100*mib + 512, Blank: true, Life: [][]string{qemuIO(
			"write -P 1 0 4k", "write -P 2 512M 1M", "write -P 3 1023M 64k", "write -z 700M 100M", "write -P 4 1153433600 512")}},
		{Name: "odd", Size: 512 * 12347},
	}
}

// Qcow2Case returns the case of Qcow2Cases with that name.
func Qcow2Case(name string) Case {
	for _, c := range Qcow2Cases() {
		if c.Name == name {
			return c
		}
	}
	panic("no case " + name)
}
