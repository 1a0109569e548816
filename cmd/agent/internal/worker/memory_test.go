package worker

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	const none = "9223372036854771712\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, 0},
		{"v2 in a namespace", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "201326592\n"}, 192 << 20},
		{"v2 without", map[string]string{"proc/self/cgroup": "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max\n", "sys/fs/cgroup/kubepods/pod1/memory.max": "201326592\n", "sys/fs/cgroup/kubepods/memory.max": "99999999999\n"}, 192 << 20},
		{"v2 unlimited", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"v1 bind mount", map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/k/c1\n4:memory:/k/c1\n0::/k/c1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "201326592\n"}, 192 << 20},
		{"v1 path", map[string]string{"proc/self/cgroup": "4:memory:/k/c1\n", "sys/fs/cgroup/memory/k/c1/memory.limit_in_bytes": "201326592\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": none}, 192 << 20},
		{"v1 unlimited", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": none}, 0},
		{"rubbish", map[string]string{"proc/self/cgroup": "x\n\n4:memory\n", "sys/fs/cgroup/memory.max": "-1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": ""}, 0},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestWindow(t *testing.T) {
	for limit, want := range map[int64]int64{0: 0, 1 << 30: 0, 200 << 20: 0, 192 << 20: 0, 180 << 20: 120 << 20, 96 << 20: 36 << 20, 60 << 20: 8 << 20} {
		if got := window(limit); got != want {
			t.Errorf("window(%d) = %d, want %d", limit, got, want)
		}
	}
}
