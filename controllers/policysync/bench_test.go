package policysync

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// BenchmarkSync1000 measures 1,000 objects, a storage and 999 configurations, from Git to applied, then a reconcile with
// nothing new, then one that compares all objects with the cluster. Requests to the Git and the API server are counted.
func BenchmarkSync1000(b *testing.B) {
	const objects = 1000
	files := map[string]string{"policy/storage.yaml": storage("local")}
	for i := range objects - 1 {
		files[fmt.Sprintf("policy/%02d/c%03d.yaml", i%20, i)] = configuration(fmt.Sprintf("c%03d", i), "0 2 * * *")
	}
	timeout := metav1.Duration{Duration: 5 * time.Minute}
	prepare := func(b *testing.B) *room {
		r := newRoom(b, func(p *v1alpha1.PolicySync) { p.Spec.Timeout = &timeout })
		r.push(files)
		return r
	}
	report := func(b *testing.B, r *room, git int64, before map[string]int) {
		n := float64(b.N)
		b.ReportMetric(float64(r.gitCalls.Load()-git)/n, "git-requests/op")
		for _, method := range []string{"GET", "DRY", "PATCH"} {
			b.ReportMetric(float64(r.api.count[method]-before[method])/n, method+"/op")
		}
		NewWithT(b).Expect(r.sync.Status.Inventory.Entries).To(HaveLen(objects))
	}
	snapshot := func(r *room) map[string]int {
		out := map[string]int{}
		for k, v := range r.api.count {
			out[k] = v
		}
		return out
	}
	b.Run("first", func(b *testing.B) {
		var r *room
		git, before := int64(0), map[string]int{}
		for range b.N {
			b.StopTimer()
			r = prepare(b)
			before, git = snapshot(r), 0
			b.StartTimer()
			r.reconcile()
		}
		b.StopTimer()
		n := b.N
		b.ReportMetric(float64(objects*n)/b.Elapsed().Seconds(), "objects/s")
		if n == 1 { // the counts are those of the last room
			report(b, r, git, before)
		}
	})
	b.Run("nothing-new", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		git, before := r.gitCalls.Load(), snapshot(r)
		b.ResetTimer()
		for range b.N {
			r.reconcile()
		}
		b.StopTimer()
		report(b, r, git, before)
	})
	b.Run("drift", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		git, before := r.gitCalls.Load(), snapshot(r)
		b.ResetTimer()
		for range b.N {
			r.clock.Step(driftInterval)
			r.reconcile()
		}
		b.StopTimer()
		report(b, r, git, before)
	})
}
