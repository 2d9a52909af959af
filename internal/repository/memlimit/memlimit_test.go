package memlimit_test

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/memlimit"
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
		fails bool
	}{
		"version 2 in a namespace: the group is the root": {files: map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "536870912\n",
		}, want: 512 << 20},
		"version 2 without a limit": {files: map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}},
		"version 2, the group above is smaller": {files: map[string]string{
			"proc/self/cgroup":                          "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/kubepods/memory.max":         "1073741824\n",
			"sys/fs/cgroup/kubepods/pod1/c1/memory.max": "2147483648\n",
		}, want: 1 << 30},
		"version 2, the host's path is not mounted": {files: map[string]string{
			"proc/self/cgroup":         "0::/kubepods.slice/pod1.slice/cri-1.scope\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, want: 256 << 20},
		"version 1": {files: map[string]string{
			"proc/self/cgroup": "12:pids:/docker/1\n11:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "134217728\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
		}, want: 128 << 20},
		"version 1 without a limit": {files: map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}},
		"hybrid: both are mounted, version 1 holds the controller": {files: map[string]string{
			"proc/self/cgroup": "4:hugetlb,memory:/a\n0::/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000000\n",
		}, want: 1000000},
		"no control groups at all": {},
		"a file that makes no sense": {files: map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "lots\n",
		}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			root := fstest.MapFS{}
			for p, text := range c.files {
				root[p] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := memlimit.Read(root)
			g.Expect(err != nil).To(Equal(c.fails), "%v", err)
			g.Expect(got).To(Equal(c.want))
		})
	}
}

func TestSetLeavesTheUsersLimitAlone(t *testing.T) {
	g := NewWithT(t)
	before := debug.SetMemoryLimit(-1)
	t.Setenv("GOMEMLIMIT", "123MiB")
	got, err := memlimit.Set()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(BeZero())
	g.Expect(debug.SetMemoryLimit(-1)).To(Equal(before))
}

func TestSetIsBelowTheContainersLimit(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	got, err := memlimit.Set()
	g.Expect(err).NotTo(HaveOccurred())
	if got == 0 {
		g.Expect(debug.SetMemoryLimit(-1)).To(Equal(int64(math.MaxInt64)), "no limit here, none set")
		return
	}
	g.Expect(debug.SetMemoryLimit(-1)).To(Equal(got))
}
