package policysync

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/kustomize"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/patch"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	gogit "github.com/go-git/go-git/v5"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// BenchmarkSync1000 measures 1,000 objects, a storage and 999 configurations: from Git to applied, then a reconcile
// with nothing new, then a reconcile that compares all objects with the cluster. It counts the requests to the Git
// server and the API server.
func BenchmarkSync1000(b *testing.B) {
	const objects, rounds = 1000, 3
	files := map[string]string{"policy/storage.yaml": storage("local")}
	for i := range objects - 1 {
		files[fmt.Sprintf("policy/%02d/c%03d.yaml", i%20, i)] = configuration(fmt.Sprintf("c%03d", i), "0 2 * * *")
	}
	timeout := metav1.Duration{Duration: 5 * time.Minute}
	prepare := func(b *testing.B) *testNamespace {
		r := newRoom(b, func(p *v1alpha1.PolicySync) { p.Spec.Timeout = &timeout })
		r.push(files)
		return r
	}
	report := func(b *testing.B, r *testNamespace, before requests, times int) {
		n, after := float64(times), r.requests()
		b.ReportMetric(float64(after.git-before.git)/n, "git-requests/op")
		b.ReportMetric(float64(after.reads-before.reads)/n, "reads/op")
		b.ReportMetric(float64(after.dry-before.dry)/n, "dry-runs/op")
		b.ReportMetric(float64(after.writes-before.writes)/n, "writes/op")
		NewWithT(b).Expect(r.sync.Status.Inventory.Entries).To(HaveLen(objects))
	}
	// The two ways take turns, each with its default concurrency; the fastest run of each counts. Their memory is
	// measured in an extra run, because that needs frequent garbage collection.
	b.Run("first", func(b *testing.B) {
		ways := []struct {
			name string
			run  func(*testNamespace)
		}{{"ours", func(r *testNamespace) { r.reconcile() }}, {
			"theirs", func(r *testNamespace) { r.asKustomizeController(objects) },
		}}
		fastest := make([]time.Duration, len(ways))
		for range rounds {
			for i, way := range ways {
				r := prepare(b)
				before, start := r.requests(), time.Now()
				way.run(r)
				if took := time.Since(start); fastest[i] == 0 || took < fastest[i] {
					fastest[i] = took
				}
				if i == 0 {
					report(b, r, before, 1)
				}
			}
		}
		for i, way := range ways {
			b.ReportMetric(float64(fastest[i].Nanoseconds()), way.name+"-ns")
			r := prepare(b)
			peak, allocated := memoryOf(func() { way.run(r) })
			b.ReportMetric(peak, way.name+"-peak-B")
			b.ReportMetric(allocated, way.name+"-alloc-B")
		}
		b.ReportMetric(float64(objects)/fastest[0].Seconds(), "objects/s")
	})
	b.Run("nothing-new", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		before := r.requests()
		b.ResetTimer()
		for range b.N {
			r.reconcile()
		}
		b.StopTimer()
		report(b, r, before, b.N)
	})
	b.Run("one-changed", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		before := r.requests()
		b.ResetTimer()
		for i := range b.N {
			b.StopTimer()
			files["policy/00/c000.yaml"] = configuration("c000", fmt.Sprintf("%d %d * * *", i%60, i/60%24))
			r.push(files)
			b.StartTimer()
			r.reconcile()
		}
		b.StopTimer()
		report(b, r, before, b.N)
	})
	b.Run("drift", func(b *testing.B) {
		r := prepare(b)
		r.reconcile()
		before := r.requests()
		b.ResetTimer()
		for range b.N {
			r.clock.Step(driftInterval)
			r.reconcile()
		}
		b.StopTimer()
		report(b, r, before, b.N)
	})
}

// requests returns the numbers of requests to the Git server and to the API server.
type requests struct {
	git                int64
	reads, dry, writes int
}

func (r *testNamespace) requests() requests {
	return requests{
		git: r.gitCalls.Load(), reads: r.api.count[http.MethodGet], dry: r.api.count["DRY"],
		writes: r.api.writes(),
	}
}

// theirConcurrency is the default of kustomize-controller's flag concurrent-ssa.
const theirConcurrency = 4

// asKustomizeController does what source-controller and kustomize-controller do by default, as far as libraries offer
// it: a shallow clone, a generated kustomization, its build, an apply, and the status with the inventory. In their
// favour it leaves out the artifact between the two, and the time until kustomize-controller sees it.
func (r *testNamespace) asKustomizeController(objects int) {
	ctx, dir := r.t.Context(), r.t.TempDir()
	_, err := gogit.PlainCloneContext(ctx, dir, false,
		&gogit.CloneOptions{URL: r.sync.Spec.URL, ReferenceName: "refs/heads/main", SingleBranch: true, Depth: 1})
	r.g.Expect(err).NotTo(HaveOccurred())
	patcher := patch.NewSerialPatcher(r.sync, r.Client)
	owned := patch.WithOwnedConditions{Conditions: []string{meta.ReadyCondition, meta.ReconcilingCondition}}
	progress := func(what string) {
		conditions.MarkReconciling(r.sync, meta.ProgressingReason, "%s", what)
		r.g.Expect(patcher.Patch(ctx, r.sync, owned, patch.WithFieldOwner("theirs"))).To(Succeed())
	}
	progress("fetching")
	progress("building")
	path := filepath.Join(dir, "policy")
	_, err = kustomize.NewGenerator(dir,
		unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"targetNamespace": r.namespace},
		}}).WriteFile(path)
	r.g.Expect(err).NotTo(HaveOccurred())
	resources, err := kustomize.SecureBuild(dir, path, false)
	r.g.Expect(err).NotTo(HaveOccurred())
	text, err := resources.AsYaml()
	r.g.Expect(err).NotTo(HaveOccurred())
	set, err := utils.ReadObjects(bytes.NewReader(text))
	r.g.Expect(err).NotTo(HaveOccurred())
	manager := ssa.NewResourceManager(r.Client, nil, owner)
	manager.SetConcurrency(theirConcurrency)
	manager.SetOwnerLabels(set, r.sync.Name, r.namespace)
	progress("detecting drift")
	changes, err := manager.ApplyAll(ctx, set, ssa.DefaultApplyOptions())
	r.g.Expect(err).NotTo(HaveOccurred())
	r.g.Expect(changes.Entries).To(HaveLen(objects))
	r.sync.Status.Inventory = &v1alpha1.ResourceInventory{}
	for _, e := range changes.Entries {
		r.sync.Status.Inventory.Entries = append(r.sync.Status.Inventory.Entries,
			v1alpha1.ResourceRef{ID: e.ObjMetadata.String(), Version: e.GroupVersion})
	}
	conditions.Delete(r.sync, meta.ReconcilingCondition)
	conditions.MarkTrue(r.sync, meta.ReadyCondition, meta.ReconciliationSucceededReason, "applied")
	r.g.Expect(patcher.Patch(ctx, r.sync, owned, patch.WithFieldOwner("theirs"))).To(Succeed())
}

// memoryOf returns by how much the heap grew at most, and how much was allocated. Both include the Git server of the
// test.
func memoryOf(run func()) (peak, allocated float64) {
	defer debug.SetGCPercent(debug.SetGCPercent(5)) // otherwise the heap grows as large as its garbage is allowed to
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before, most, start := sample[0].Value.Uint64(), sample[0].Value.Uint64(), sample[1].Value.Uint64()
	done, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		mine := slices.Clone(sample)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				metrics.Read(mine)
				most = max(most, mine[0].Value.Uint64())
			}
		}
	}()
	run()
	close(done)
	<-sampled
	metrics.Read(sample)
	return float64(most - before), float64(sample[1].Value.Uint64() - start)
}
