package kopia

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"
)

// A tree of packages or of mails has millions of files with several names. A restore holds something of each of them
// until its end.
func TestAMillionHardLinksFitIntoMemory(t *testing.T) {
	g := NewWithT(t)
	const files = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := &restorer{links: map[linkID]*linkGroup{}}
	for i := range files {
		id := linkID{ino: uint64(i)}
		file := linkDigestOf(&snapshot.DirEntry{FileSize: int64(i)}, &record{})
		group, st, done := r.nextState(id, file, nil)
		g.Expect(done).To(BeNil())
		st.rel = fmt.Sprintf("store/files/%08d-of-a-usual-length", i)
		r.count(&group.written)
		r.finish(st)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / files
	t.Log("bytes per file:", each)
	g.Expect(each).To(BeNumerically("<", 450))
	runtime.KeepAlive(r)
}
