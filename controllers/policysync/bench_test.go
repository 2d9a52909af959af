package policysync

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/fluxcd/pkg/kustomize"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	// What kustomize-controller does with the same directory, as far as it is libraries: generate a kustomization, build it,
	// apply it with its default concurrency. Without fetching, and without its own status.
	b.Run("first-as-kustomize-controller", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			r := prepare(b)
			dir := filepath.Join(r.work, "policy")
			b.StartTimer()
			_, err := kustomize.NewGenerator(r.work, unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"targetNamespace": r.namespace}}}).WriteFile(dir)
			r.g.Expect(err).NotTo(HaveOccurred())
			resources, err := kustomize.SecureBuild(r.work, dir, false)
			r.g.Expect(err).NotTo(HaveOccurred())
			text, err := resources.AsYaml()
			r.g.Expect(err).NotTo(HaveOccurred())
			set, err := utils.ReadObjects(bytes.NewReader(text))
			r.g.Expect(err).NotTo(HaveOccurred())
			manager := ssa.NewResourceManager(r.Client, nil, owner)
			manager.SetConcurrency(4)
			manager.SetOwnerLabels(set, "policy", r.namespace)
			changes, err := manager.ApplyAll(b.Context(), set, ssa.DefaultApplyOptions())
			r.g.Expect(err).NotTo(HaveOccurred())
			r.g.Expect(changes.Entries).To(HaveLen(objects))
		}
		b.ReportMetric(float64(objects*b.N)/b.Elapsed().Seconds(), "objects/s")
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
	b.Run("one-changed", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		git, before := r.gitCalls.Load(), snapshot(r)
		b.ResetTimer()
		for i := range b.N {
			b.StopTimer()
			files["policy/00/c000.yaml"] = configuration("c000", fmt.Sprintf("%d %d * * *", i%60, i/60%24))
			r.push(files)
			b.StartTimer()
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
