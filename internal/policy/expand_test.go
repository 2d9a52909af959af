package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

func TestExpandMakesOneChildPerTarget(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.BatchOf("web", "db")
	before := batch.DeepCopy()

	children, err := policy.Expand(batch, nil)

	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(children).To(HaveLen(2))
	web, db := children[0], children[1]
	g.Expect(web.Name).To(Equal("shop-web"))
	g.Expect(db.Name).To(Equal("shop-db"), "children come in the order of spec.targets")
	g.Expect(web.Namespace).To(Equal("shop"))
	g.Expect(web.Labels).To(Equal(map[string]string{
		"app.kubernetes.io/managed-by": "cairn",
		"backup.cairn.dev/batch":       "shop",
	}))
	g.Expect(web.OwnerReferences).To(BeEmpty())
	g.Expect(web.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationSpecDigest, policy.Digest(web.Spec)))
	g.Expect(*web.Spec.Target).To(Equal(batch.Spec.Targets[0].AppRef))

	g.Expect(web.Spec.Sessions).To(HaveLen(2))
	g.Expect(web.Spec.Sessions[0].Name).To(Equal("hourly"))
	g.Expect(web.Spec.Sessions[0].Scheduler).To(BeNil(), "the batch's sessions run the child")
	g.Expect(web.Spec.Sessions[0].BackupTimeout.Duration).To(Equal(30 * time.Minute))
	g.Expect(web.Spec.Sessions[0].Addon).To(Equal(batch.Spec.Sessions[0].Targets[0].Addon))
	g.Expect(web.Spec.Sessions[0].Repositories).To(Equal(batch.Spec.Sessions[0].Targets[0].Repositories))
	g.Expect(web.Spec.Backends).To(HaveLen(2))
	g.Expect(db.Spec.Sessions).To(HaveLen(1), "db is in only one session")
	g.Expect(db.Spec.Backends).To(HaveLen(1), "db uses only one backend")
	g.Expect(db.Spec.Backends[0].Name).To(Equal("main"))

	web.Spec.Sessions[0].Repositories[0].EncryptionSecret.Name = "changed"
	web.Spec.Sessions[0].Addon.Tasks[0].Name = "changed"
	web.Spec.Backends[0].StorageRef.Name = "changed"
	g.Expect(batch).To(Equal(before), "children share no memory with the batch")
}

// A run of a session takes from the child of a target what only that session and its backend say.
func TestChildDigest(t *testing.T) {
	g := NewWithT(t)
	digest := func(edit func(*v1alpha1.BackupBatch)) string {
		batch := policytest.BatchOf("web", "db")
		edit(batch)
		children, err := policy.Expand(batch, nil)
		g.Expect(err).NotTo(HaveOccurred())
		return policy.ChildDigest(&children[0].Spec, batch.Spec.Sessions[0].Name)
	}
	before := digest(func(*v1alpha1.BackupBatch) {})
	for name, edit := range map[string]func(*v1alpha1.BackupBatch){
		"another session": func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[1].Targets[0].Addon.Name = "x" },
		"a timeout": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[0].BackupTimeout = &metav1.Duration{Duration: time.Minute}
		},
		"another target": func(b *v1alpha1.BackupBatch) { b.Spec.Targets[1].AppRef.Name = "x" },
	} {
		g.Expect(digest(edit)).To(Equal(before), name)
	}
	for name, edit := range map[string]func(*v1alpha1.BackupBatch){
		"its Addon": func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[0].Targets[0].Addon.Name = "x" },
		"its executor": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[0].Targets[0].Executor = v1alpha1.ExecutorSidecar
		},
		"its repository": func(b *v1alpha1.BackupBatch) {
			b.Spec.Sessions[0].Targets[0].Repositories[0].Directory = "/x"
		},
		"its backend": func(b *v1alpha1.BackupBatch) {
			for i := range b.Spec.Backends {
				b.Spec.Backends[i].StorageRef.Name = "x"
			}
		},
		"the object": func(b *v1alpha1.BackupBatch) { b.Spec.Targets[0].AppRef.Name = "x" },
	} {
		g.Expect(digest(edit)).NotTo(Equal(before), name)
	}
}

func TestExpandRefusesBadBatches(t *testing.T) {
	tests := map[string]struct {
		edit    func(*v1alpha1.BackupBatch)
		field   string
		reason  string
		message string
	}{
		"two targets of one name": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets = append(b.Spec.Targets, *b.Spec.Targets[0].DeepCopy())
			},
			field: "spec.targets[2].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `target "web" is defined twice`,
		},
		"a session of an unknown target": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[1].Targets = append(b.Spec.Sessions[1].Targets,
					policytest.SessionTarget("cache", "main"))
			},
			field: "spec.sessions[1].targets[1].name", reason: v1alpha1.ReasonTargetNotFound,
			message: `no target "cache"`,
		},
		"a session that names a target twice": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[0].Targets = append(b.Spec.Sessions[0].Targets, policytest.SessionTarget("web", "main"))
			},
			field: "spec.sessions[0].targets[2].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `names the target "web" twice`,
		},
		"a target that no session names": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[0].Targets = b.Spec.Sessions[0].Targets[:1] },
			field: "spec.targets[1].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `no session names the target "db"`,
		},
		"two sessions of one name": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[1].Name = "hourly" },
			field: "spec.sessions[1].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `session "hourly" is defined twice`,
		},
		"two backends of one name": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Backends = append(b.Spec.Backends, b.Spec.Backends[0]) },
			field: "spec.backends[2].name", reason: v1alpha1.ReasonResourceValidationFailed,
			message: `backend "main" is defined twice`,
		},
		"an unknown backend": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[0].Targets[1].Repositories[0].Backend = "mian" },
			field: "spec.sessions[0].targets[1].repositories[0].backend", reason: v1alpha1.ReasonBackendNotFound,
			message: `no backend "mian"`,
		},
		"one repository for two targets": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Sessions[0].Targets[1].Repositories[0].Name = "web-main" },
			field: "spec.sessions[0].targets[1].repositories[0].name", reason: v1alpha1.ReasonRepositoryConflict,
			message: `give the target "db" a repository of its own`,
		},
		"one repository with two directories": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[1].Targets[0].Repositories[0] = b.Spec.Sessions[0].Targets[0].Repositories[0]
				b.Spec.Sessions[1].Targets[0].Repositories[0].Directory = "/elsewhere"
			},
			field: "spec.sessions[1].targets[0].repositories[0]", reason: v1alpha1.ReasonRepositoryConflict,
			message: "use the same in both",
		},
		"a target of another namespace": {
			edit:  func(b *v1alpha1.BackupBatch) { b.Spec.Targets[0].AppRef.Namespace = "bank" },
			field: "spec.targets[0].appRef.namespace", reason: v1alpha1.ReasonTargetNotFound,
			message: "backs up only its own namespace",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := policytest.BatchOf("web", "db")
			test.edit(batch)

			children, err := policy.Expand(batch, nil)

			g.Expect(children).To(BeEmpty())
			var invalid *policy.InvalidError
			g.Expect(errors.As(err, &invalid)).To(BeTrue(), "%v", err)
			g.Expect(invalid.Mistakes).To(HaveLen(1), "%v", err)
			g.Expect(invalid.Mistakes[0].Field).To(Equal(test.field))
			g.Expect(invalid.Mistakes[0].Reason).To(Equal(test.reason))
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
		})
	}
}

func TestExpandListsEveryMistake(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.BatchOf("web", "db")
	batch.Spec.Targets = append(batch.Spec.Targets, *batch.Spec.Targets[0].DeepCopy())
	batch.Spec.Sessions[0].Targets[1].Name = "cache"
	batch.Spec.Sessions[0].Targets[0].Repositories[0].Backend = "mian"

	_, err := policy.Expand(batch, nil)

	g.Expect(err).To(MatchError(And(
		ContainSubstring(`target "web" is defined twice`),
		ContainSubstring(`no target "cache"`),
		ContainSubstring(`no backend "mian"`),
		ContainSubstring(`no session names the target "db"`),
	)))
}

func TestExpandAllowsOneRepositoryInTwoSessionsOfATarget(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.BatchOf("web")
	batch.Spec.Sessions[1].Targets[0].Repositories[0] = batch.Spec.Sessions[0].Targets[0].Repositories[0]
	batch.Spec.Sessions[1].Targets[0].Repositories[0].Directory = "shop//web/"

	_, err := policy.Expand(batch, nil)

	g.Expect(err).NotTo(HaveOccurred(), "it is the same directory in another spelling")
}

// For every batch: the order of sessions, backends and a session's targets does not change any child; adding or
// removing a target does not change any other child.
func TestExpandChangesAsLittleAsPossible(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		g := NewWithT(t)
		names := make([]string, 1+random.IntN(20))
		for i := range names {
			names[i] = fmt.Sprintf("target-%d", i)
		}
		batch := policytest.BatchOf(names...)
		before, err := policy.Expand(batch, nil)
		g.Expect(err).NotTo(HaveOccurred())

		shuffled := batch.DeepCopy()
		shuffle(random, shuffled.Spec.Sessions)
		shuffle(random, shuffled.Spec.Backends)
		for i := range shuffled.Spec.Sessions {
			shuffle(random, shuffled.Spec.Sessions[i].Targets)
		}
		g.Expect(policy.Expand(shuffled, nil)).To(Equal(before))

		added := batch.DeepCopy()
		at := random.IntN(len(names) + 1)
		added.Spec.Targets = append(added.Spec.Targets[:at:at], append([]v1alpha1.BatchTarget{
			{Name: "new", AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "new"}},
		}, added.Spec.Targets[at:]...)...)
		added.Spec.Sessions[0].Targets = append(added.Spec.Sessions[0].Targets, policytest.SessionTarget("new", "away"))
		children, err := policy.Expand(added, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(children[at].Name).To(Equal("shop-new"))
		g.Expect(append(children[:at:at], children[at+1:]...)).To(Equal(before))
	}
}

func shuffle[T any](random *rand.Rand, s []T) {
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// BenchmarkExpand reports targets/s; the bar is 10,000 on one core.
func BenchmarkExpand(b *testing.B) {
	names := make([]string, 500)
	for i := range names {
		names[i] = fmt.Sprintf("target-%d", i)
	}
	batch := policytest.BatchOf(names...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Expand(batch, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(names))/b.Elapsed().Seconds(), "targets/s")
}
