// Package peak measures how much memory a piece of work takes at most. It runs a test again in a process of its own,
// because the peak of a process is that of all of its tests.
package peak

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// rerun marks the process that does the work. Its value is the file for the peak.
const rerun = "CAIRN_TEST_PEAK"

var highest = regexp.MustCompile(`(?m)^VmHWM:\s+([0-9]+) kB$`)

// Of does the work in a process of its own, with the soft limit that the manager has, and returns the most memory that
// the process had resident, in bytes. The calling test runs again from its start there, so nothing before the call is
// allowed to take much memory. A failure of the work is one of the test.
func Of(t *testing.T, work func(t *testing.T)) int64 {
	t.Helper()
	g := NewWithT(t)
	if file := os.Getenv(rerun); file != "" {
		work(t)
		status, err := os.ReadFile("/proc/self/status")
		g.Expect(err).NotTo(HaveOccurred())
		found := highest.FindSubmatch(status)
		g.Expect(found).NotTo(BeNil(), "the peak of the process")
		g.Expect(os.WriteFile(file, found[1], 0o600)).To(Succeed())
		t.SkipNow() // the rest of the test is for the first process
	}
	file := t.TempDir() + "/peak"
	names := strings.Split(t.Name(), "/")
	for i, n := range names {
		names[i] = "^" + regexp.QuoteMeta(n) + "$"
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+strings.Join(names, "/"), "-test.count=1")
	// what memlimit makes of the limit in config/manager
	command.Env = append(os.Environ(), rerun+"="+file, "CAIRN_TEST_RERUN=1", "GOMEMLIMIT=409MiB")
	out, err := command.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	raw, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	kib, err := strconv.ParseInt(string(raw), 10, 64)
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("%d MiB at most", kib>>10)
	return kib << 10
}
