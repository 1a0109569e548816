package images

func img(args ...string) []string { return append([]string{"qemu-img"}, args...) }

func qio(commands ...string) []string {
	args := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return append(args, itself)
}

// QCOW2 are the qcow2 files. Each begins as a disk of 256 MiB.
var QCOW2 = []Kind{
	{Format: "qcow2", Name: "v2", Options: []string{"-o", "compat=0.10"}},
	{Format: "qcow2", Name: "v3", Packaged: true, Options: []string{"-o", "compat=1.1"}},
	{Format: "qcow2", Name: "cluster-512", Options: []string{"-o", "cluster_size=512"}},
	{Format: "qcow2", Name: "cluster-4k", Options: []string{"-o", "cluster_size=4096"}},
	{Format: "qcow2", Name: "cluster-64k", Options: []string{"-o", "cluster_size=65536"}},
	{Format: "qcow2", Name: "cluster-2m", Options: []string{"-o", "cluster_size=2097152"}},
	{Format: "qcow2", Name: "zlib", Options: []string{"-c", "-o", "compression_type=zlib"}},
	{Format: "qcow2", Name: "zstd", Options: []string{"-c", "-o", "compression_type=zstd"}},
	{Format: "qcow2", Name: "zlib-2m", Options: []string{"-c", "-o", "compression_type=zlib,cluster_size=2097152"}},
	{Format: "qcow2", Name: "zstd-4k", Options: []string{"-c", "-o", "compression_type=zstd,cluster_size=4096"}},
	{Format: "qcow2", Name: "extended-l2", Options: []string{"-o", "extended_l2=on"}, life: [][]string{
		// Single subclusters of 2 KiB, one of them across a cluster's border, and holes among data.
		qio("write -P 1 130M 2k", "write -P 2 131074k 4k", "write -P 3 200M 512", "write -z 1M 6k", "discard 3M 10k"),
	}},
	{Format: "qcow2", Name: "extended-l2-zstd", Options: []string{"-c", "-o", "extended_l2=on,compression_type=zstd"}, life: [][]string{
		qio("write -P 4 8M 2k", "write -P 5 9000k 130k"),
	}},
	{Format: "qcow2", Name: "zero-clusters", Options: []string{"-o", "preallocation=metadata,refcount_bits=1"}, life: [][]string{
		qio("write -z 0 1M", "write -z -u 64M 1M", "write -z 100M 1536"),
	}},
	{Format: "qcow2", Name: "snapshot", Snapshots: []string{"before"}, life: [][]string{
		img("snapshot", "-c", "before", itself),
		qio("write -P 6 0 3M", "write -P 7 77M 5k", "write -z 255M 1M"),
	}},
	{Format: "qcow2", Name: "resized", life: [][]string{
		img("resize", "-q", "-f", "qcow2", itself, "+128M"), // moves the L1 table to the end of the file
		qio("write -P 8 383M 1M", "write -P 9 300M 70k"),
	}},
	{Format: "qcow2", Name: "life", Options: []string{"-c"}, Snapshots: []string{"one", "three"}, life: [][]string{
		img("snapshot", "-c", "one", itself),
		qio("write -P 10 0 1M", "write -P 11 99M 777k", "write -c -P 12 120M 64k", "discard 10M 4M"),
		img("snapshot", "-c", "two", itself),
		qio("write -P 13 512k 9M", "write -z 90M 10M", "write -P 14 99M 1k"),
		img("snapshot", "-d", "two", itself),
		qio("write -P 15 200M 6M", "discard 0 64k"),
		img("snapshot", "-c", "three", itself),
		qio("write -P 16 200M 1M", "write -P 17 7M 33k"),
	}},
}
