package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

const (
	deployment  = v1alpha1.TargetKind(v1alpha1.KindDeployment)
	statefulSet = v1alpha1.TargetKind(v1alpha1.KindStatefulSet)
	claim       = v1alpha1.TargetKind(v1alpha1.KindPersistentVolumeClaim)
	service     = v1alpha1.TargetKind(v1alpha1.KindService)
)

func targetNames(targets []policy.Target) []string {
	var out []string
	for _, t := range targets {
		out = append(out, t.Name)
	}
	return out
}

func TestSelectorsFind(t *testing.T) {
	shop := v1alpha1.TargetSelector{
		Kinds:         []v1alpha1.TargetKind{claim, deployment, statefulSet},
		LabelSelector: policytest.Labelled("shop"),
	}
	tests := map[string]struct {
		selector   v1alpha1.TargetSelector
		candidates []policy.Candidate
		addon      *v1alpha1.AddonInfo
		want       []string
		reason     string
	}{
		"kinds and labels": {
			selector: v1alpha1.TargetSelector{
				Kinds: []v1alpha1.TargetKind{claim}, LabelSelector: policytest.Labelled("shop"),
			},
			candidates: []policy.Candidate{
				policytest.Candidate(claim, "b", "shop"), policytest.Candidate(claim, "a", "shop"),
				policytest.Candidate(claim, "c", "bank"),
				policytest.Candidate(deployment, "d", "shop"),
			},
			want:   []string{"all-persistentvolumeclaim-a", "all-persistentvolumeclaim-b"},
			reason: "ordered by kind and name",
		},
		"all objects of a kind": {
			selector:   v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{claim}},
			candidates: []policy.Candidate{policytest.Candidate(claim, "a", "shop"), {Kind: claim, Name: "b"}},
			want:       []string{"all-persistentvolumeclaim-a", "all-persistentvolumeclaim-b"},
			reason:     "a selector without labels finds all objects",
		},
		"databases": {
			selector: v1alpha1.TargetSelector{
				Kinds: []v1alpha1.TargetKind{service}, LabelSelector: policytest.Labelled("shop"),
			},
			candidates: []policy.Candidate{
				policytest.Candidate(service, "orders", "shop"), policytest.Candidate(service, "front", "bank"),
				policytest.Candidate(claim, "orders", "shop"),
			},
			addon: &v1alpha1.AddonInfo{Name: "postgres-addon"},
			want:  []string{"all-service-orders"}, reason: "a Service stands for its database",
		},
		"expressions": {
			selector: v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{claim}, LabelSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}},
				},
			}},
			candidates: []policy.Candidate{
				policytest.Candidate(claim, "x", "a"), policytest.Candidate(claim, "y", "b"),
				policytest.Candidate(claim, "z", "c"),
			},
			want: []string{"all-persistentvolumeclaim-x", "all-persistentvolumeclaim-y"},
		},
		"exclusions": {
			selector: v1alpha1.TargetSelector{
				Kinds: []v1alpha1.TargetKind{claim, deployment},
				Exclude: &v1alpha1.TargetExclusion{
					LabelSelector: policytest.Labelled("cache"),
					Names:         []v1alpha1.ExcludedTarget{{Kind: claim, Name: "scratch"}},
				},
			},
			candidates: []policy.Candidate{
				policytest.Candidate(claim, "a", "shop"), policytest.Candidate(claim, "b", "cache"),
				policytest.Candidate(claim, "scratch", "shop"),
				policytest.Candidate(deployment, "scratch", "shop"),
			},
			want:   []string{"all-deployment-scratch", "all-persistentvolumeclaim-a"},
			reason: "an exclusion names a kind too",
		},
		"an object that is being deleted, and a claim of a pod": {
			selector: shop,
			candidates: []policy.Candidate{
				{Kind: claim, Name: "going", Labels: map[string]string{"app": "shop"}, Deleting: true},
				{Kind: claim, Name: "scratch", Labels: map[string]string{"app": "shop"}, OfPod: true},
				policytest.Candidate(claim, "stays", "shop"),
			},
			want: []string{"all-persistentvolumeclaim-stays"},
		},
		"a claim that a found workload mounts": {
			selector: shop,
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "web", "shop"), "pages"),
				policytest.Candidate(claim, "pages", "shop"),
				policytest.Candidate(claim, "alone", "shop"),
			},
			want:   []string{"all-deployment-web", "all-persistentvolumeclaim-alone"},
			reason: "the backup of the workload holds it",
		},
		"a claim whose workload no selector finds": {
			selector: shop,
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "web", "bank"), "pages"),
				policytest.Candidate(claim, "pages", "shop"),
			},
			want: []string{"all-persistentvolumeclaim-pages"}, reason: "no other target backs it up",
		},
		"a workload without data": {
			selector: shop,
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "front", "shop")),
				policytest.Candidate(statefulSet, "unread", "shop"),
			},
			want: []string{"all-statefulset-unread"}, reason: "a workload with unknown volumes can have data",
		},
		"an explicit Addon can need all objects": {
			selector: shop, addon: &v1alpha1.AddonInfo{Name: "dump"},
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "front", "shop")),
				policytest.Mounting(policytest.Candidate(deployment, "web", "shop"),
					"pages"), policytest.Candidate(claim, "pages", "shop"),
			},
			want: []string{"all-deployment-front", "all-deployment-web", "all-persistentvolumeclaim-pages"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := policytest.Selecting(policytest.BatchOf("explicit"), "all", tt.selector)
			batch.Spec.Sessions[0].Targets[1].Addon = tt.addon

			targets := policy.Targets(batch, policy.FindAmong(batch, tt.candidates))

			g.Expect(targets[0].Name).To(Equal("explicit"), "targets come in the order of spec.targets")
			g.Expect(targetNames(targets[1:])).To(Equal(tt.want), tt.reason)
			for _, found := range targets[1:] {
				g.Expect(found.FoundBy).To(Equal("all"))
			}
		})
	}
}

func TestExpandMakesRepositoriesOfTemplates(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.Selecting(policytest.BatchOf("web"), "all",
		v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{claim}})
	session := &batch.Spec.Sessions[0]
	secret := &v1alpha1.ObjectReference{Name: "enc"}
	session.Repositories = []v1alpha1.RepositoryInfo{
		{
			Name: "near", Backend: "main", Directory: "/shop/", EncryptionSecret: secret,
			DeletionPolicy: v1alpha1.RetainRepository,
		},
		{Name: "far", Backend: "away"},
	}
	batch.Spec.Targets = append(batch.Spec.Targets,
		v1alpha1.BatchTarget{Name: "db", AppRef: v1alpha1.TypedObjectReference{
			Kind: "PersistentVolumeClaim",
			Name: "db",
		}})
	session.Targets = append(session.Targets, v1alpha1.BatchSessionTarget{Name: "db"})

	children, err := policy.Expand(batch,
		policy.FindAmong(batch, []policy.Candidate{policytest.Candidate(claim, "data.v1", "shop")}))

	g.Expect(err).NotTo(HaveOccurred())
	hourly := func(i int) v1alpha1.BackupConfigurationSession { return children[i].Spec.Sessions[0] }
	g.Expect(hourly(0).Repositories[0].Name).To(Equal("web-main"), "a target's own repositories win")
	g.Expect(hourly(0).Repositories[0].Directory).To(Equal("/shop/web"))
	name := "all-persistentvolumeclaim-data-v1-" + policy.Hash("all", "persistentvolumeclaim", "data.v1")
	g.Expect(children[1].Name).To(Equal("shop-" + name))
	g.Expect(hourly(1).Repositories).To(Equal([]v1alpha1.RepositoryInfo{
		{
			Name: "near-" + name, Backend: "main", Directory: "/shop/" + name, EncryptionSecret: secret,
			DeletionPolicy: v1alpha1.RetainRepository,
		},
		{Name: "far-" + name, Backend: "away"},
	}), "what a template leaves out is inferred for each target")
	g.Expect(hourly(2).Repositories[0].Directory).To(Equal("/shop/db"))

	batch.Spec.Sessions[0].Targets[1].Repositories = []v1alpha1.RepositoryInfo{{
		Name: "own", Backend: "main",
		Directory: "/own",
	}}
	children, err = policy.Expand(batch,
		policy.FindAmong(batch,
			[]policy.Candidate{policytest.Candidate(claim, "a", "shop"), policytest.Candidate(claim, "b", "shop")}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hourly(1).Repositories).To(Equal([]v1alpha1.RepositoryInfo{
		{Name: "own-all-persistentvolumeclaim-a", Backend: "main", Directory: "/own/all-persistentvolumeclaim-a"},
	}), "the repositories of a target with a selector are templates too")
	g.Expect(hourly(2).Repositories[0].Name).To(Equal("own-all-persistentvolumeclaim-b"))
}

func TestExpandRefusesWhatSelectorsCannotBe(t *testing.T) {
	many := func(n int) []policy.Candidate {
		var out []policy.Candidate
		for i := range n {
			out = append(out, policytest.Candidate(claim, fmt.Sprintf("c%d", i), "shop"))
		}
		return out
	}
	tests := map[string]struct {
		edit       func(*v1alpha1.BackupBatch)
		candidates []policy.Candidate
		field      string
		reason     string
		message    string
	}{
		"more than the default": {
			candidates: many(101), field: "spec.targets[1].selector", reason: v1alpha1.ReasonTooManyTargets,
			message: "more objects than its maxTargets, 100",
		},
		"more than maxTargets": {
			edit:       func(b *v1alpha1.BackupBatch) { b.Spec.Targets[1].Selector.MaxTargets = 2 },
			candidates: many(3), field: "spec.targets[1].selector", reason: v1alpha1.ReasonTooManyTargets,
			message: "maxTargets, 2",
		},
		"more than a session can have": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets[1].Selector.MaxTargets = 500
				b.Spec.Sessions[1].Targets = b.Spec.Sessions[1].Targets[1:]
			},
			candidates: many(500), field: "spec.sessions[0].targets", reason: v1alpha1.ReasonTooManyTargets,
			message: "at most 500 targets",
		},
		"more than a batch can have": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets[1].Selector.MaxTargets = 500
				b.Spec.Sessions[0].Targets = b.Spec.Sessions[0].Targets[:1]
				b.Spec.Targets = append(b.Spec.Targets, *b.Spec.Targets[1].DeepCopy())
				b.Spec.Targets[2].Name = "again"
				b.Spec.Sessions[1].Targets = b.Spec.Sessions[1].Targets[1:]
				b.Spec.Sessions = append(b.Spec.Sessions, *b.Spec.Sessions[1].DeepCopy())
				b.Spec.Sessions[2].Name, b.Spec.Sessions[2].Targets[0].Name = "third", "again"
			},
			candidates: many(500), field: "spec.targets", reason: v1alpha1.ReasonTooManyTargets,
			message: "at most 1000 targets",
		},
		"a name that a named target has": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets[0].Name, b.Spec.Sessions[0].Targets[0].Name, b.Spec.Sessions[1].Targets[0].Name =
					"all-persistentvolumeclaim-a", "all-persistentvolumeclaim-a", "all-persistentvolumeclaim-a"
			},
			candidates: []policy.Candidate{policytest.Candidate(claim, "a", "shop")},
			field:      "spec.targets[1].name", reason: v1alpha1.ReasonNameConflict,
			message: `Deployment/web and PersistentVolumeClaim/a would both be the target`,
		},
		"two templates that make one repository": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{Name: "x", Backend: "main"}}
				b.Spec.Sessions[1].Repositories = []v1alpha1.RepositoryInfo{{
					Name:    "x-all-persistentvolumeclaim-x",
					Backend: "main",
				}}
			},
			candidates: []policy.Candidate{
				policytest.Candidate(claim, "x", "shop"),
				policytest.Candidate(claim, "x-all-persistentvolumeclaim-x", "shop"),
			},
			field: "spec.sessions[1].repositories[0].name", reason: v1alpha1.ReasonRepositoryConflict,
			message: "give",
		},
		"an invalid label selector": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets[1].Selector.LabelSelector = &metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}},
				}
			},
			field: "spec.targets[1].selector.labelSelector", reason: v1alpha1.ReasonResourceValidationFailed,
			message: "Like",
		},
		"an exclusion of everything": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Targets[1].Selector.Exclude = &v1alpha1.TargetExclusion{LabelSelector: &metav1.LabelSelector{}}
			},
			field: "spec.targets[1].selector.exclude.labelSelector", reason: v1alpha1.ReasonResourceValidationFailed,
			message: "excludes everything",
		},
		"a template's directory without room": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[0].Repositories[0].Directory = "/" + strings.Repeat("d", 448)
				b.Spec.Sessions[1].Repositories = nil
			},
			field: "spec.sessions[0].repositories[0].directory", reason: v1alpha1.ReasonResourceValidationFailed,
			message: "at most 448 characters",
		},
		"a template's missing backend": {
			edit: func(b *v1alpha1.BackupBatch) {
				b.Spec.Sessions[0].Repositories[0].Backend = "mian"
				b.Spec.Sessions[1].Repositories = nil
				b.Spec.Sessions[1].Targets[1].Repositories = []v1alpha1.RepositoryInfo{{Name: "other", Backend: "main"}}
			},
			candidates: many(3),
			field:      "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonBackendNotFound,
			message: `no backend "mian"`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := policytest.Selecting(policytest.BatchOf("web"), "all",
				v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{claim}})
			if name == "a template's directory without room" || name == "a template's missing backend" {
				batch.Spec.Sessions[1].Targets[1].Repositories = []v1alpha1.RepositoryInfo{{
					Name:    "other",
					Backend: "main",
				}}
			}
			if tt.edit != nil {
				tt.edit(batch)
			}

			children, err := policy.Expand(batch, policy.FindAmong(batch, tt.candidates))

			g.Expect(children).To(BeEmpty())
			var invalid *policy.InvalidError
			g.Expect(errors.As(err, &invalid)).To(BeTrue(), "%v", err)
			g.Expect(invalid.Mistakes).To(HaveLen(1), "%v", err)
			g.Expect(invalid.Mistakes[0].Field).To(Equal(tt.field))
			g.Expect(invalid.Mistakes[0].Reason).To(Equal(tt.reason))
			g.Expect(err).To(MatchError(ContainSubstring(tt.message)))
		})
	}
}

func TestWhatWasFoundStaysInForceWhileABatchHasMistakes(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.Selecting(policytest.BatchOf("web"), "all", v1alpha1.TargetSelector{
		Kinds:      []v1alpha1.TargetKind{claim},
		MaxTargets: 1,
	})
	one, two := []policy.Candidate{policytest.Candidate(claim, "a", "")}, []policy.Candidate{
		policytest.Candidate(claim, "a", ""),
		policytest.Candidate(claim, "b", ""),
	}
	for _, target := range policy.Targets(batch, policy.FindAmong(batch, one)) {
		batch.Status.Targets = append(batch.Status.Targets, v1alpha1.BatchTargetStatus{
			Name:    target.Name,
			FoundBy: target.FoundBy, AppRef: target.AppRef,
		})
	}

	g.Expect(policy.TargetsInForce(batch, policy.FindAmong(batch, two))).To(Equal(policy.KnownTargets(batch)))
	g.Expect(targetNames(policy.KnownTargets(batch))).To(Equal([]string{"web", "all-persistentvolumeclaim-a"}))
	g.Expect(policy.TargetsInForce(batch, policy.FindAmong(batch, nil))).
		To(HaveLen(1), "without mistakes the present objects count")
	known, err := policy.KnownChildren(batch)
	g.Expect(err).NotTo(HaveOccurred())
	fresh, err := policy.Expand(batch, policy.FindAmong(batch, one))
	g.Expect(err).NotTo(HaveOccurred())
	for i := range fresh {
		fresh[i].Annotations = nil
	}
	g.Expect(known).To(Equal(fresh), "the status has as much as the cluster")
}

// world is a batch with named targets and selectors, and the objects that these can find.
type world struct {
	batch      *v1alpha1.BackupBatch
	candidates []policy.Candidate
}

func (w world) children(g *WithT) map[string]v1alpha1.BackupConfiguration {
	children, err := policy.Expand(w.batch, policy.FindAmong(w.batch, w.candidates))
	g.Expect(err).NotTo(HaveOccurred())
	out := map[string]v1alpha1.BackupConfiguration{}
	for _, c := range children {
		out[c.Name] = c
	}
	g.Expect(out).To(HaveLen(len(children)), "names are unique")
	return out
}

func randomWorld(random *rand.Rand) world {
	named := make([]string, 1+random.IntN(8))
	for i := range named {
		named[i] = fmt.Sprintf("named-%d%s", i, strings.Repeat("x", random.IntN(40)))
	}
	w := world{batch: policytest.BatchOf(named...)}
	kinds := []v1alpha1.TargetKind{claim, deployment, statefulSet, service}
	for i := range 1 + random.IntN(4) {
		shuffle(random, kinds)
		policytest.Selecting(w.batch, fmt.Sprintf("selects-%d%s", i, strings.Repeat("y", random.IntN(50))),
			v1alpha1.TargetSelector{
				Kinds:         slices.Clone(kinds[:1+random.IntN(3)]),
				LabelSelector: policytest.Labelled(fmt.Sprint(random.IntN(3))),
			})
	}
	for i := range random.IntN(30) {
		w.candidates = append(w.candidates, randomCandidate(random, i, kinds))
	}
	return w
}

func randomCandidate(random *rand.Rand, i int, kinds []v1alpha1.TargetKind) policy.Candidate {
	c := policytest.Candidate(kinds[random.IntN(3)], fmt.Sprintf("o%d.%s", i, strings.Repeat("z", random.IntN(100))),
		fmt.Sprint(random.IntN(3)))
	if c.Kind != claim && random.IntN(2) == 0 {
		c = policytest.Mounting(c, fmt.Sprintf("not-there-%d", i))
	}
	return c
}

// For every batch and every set of objects: no order changes a child, and an object that comes or goes adds or removes
// only its own children.
func TestExpandOfSelectorsChangesAsLittleAsPossible(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		g := NewWithT(t)
		w := randomWorld(random)
		before := w.children(g)

		shuffled := world{w.batch.DeepCopy(), slices.Clone(w.candidates)}
		shuffle(random, shuffled.candidates)
		shuffle(random, shuffled.batch.Spec.Targets)
		shuffle(random, shuffled.batch.Spec.Sessions)
		for i := range shuffled.batch.Spec.Sessions {
			shuffle(random, shuffled.batch.Spec.Sessions[i].Targets)
		}
		for i := range shuffled.batch.Spec.Targets {
			if s := shuffled.batch.Spec.Targets[i].Selector; s != nil {
				shuffle(random, s.Kinds)
			}
		}
		g.Expect(shuffled.children(g)).To(Equal(before))

		object := world{
			w.batch,
			append(slices.Clone(w.candidates),
				randomCandidate(random, 1000, []v1alpha1.TargetKind{claim, deployment, statefulSet, service})),
		}
		for name, child := range object.children(g) {
			if old, ok := before[name]; ok {
				g.Expect(child).To(Equal(old))
			} else {
				g.Expect(child.Spec.Target.Name).To(HavePrefix("o1000."), "only the new object has a new child")
			}
		}
		g.Expect(len(object.children(g))).To(BeNumerically(">=", len(before)))

		target := world{policytest.Selecting(w.batch.DeepCopy(), "another",
			v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{claim, statefulSet}}), w.candidates}
		for name, child := range target.children(g) {
			if old, ok := before[name]; ok {
				g.Expect(child).To(Equal(old))
			} else {
				g.Expect(name).To(HavePrefix("shop-another-"))
			}
		}
		g.Expect(len(target.children(g))).To(BeNumerically(">=", len(before)), "and no child is removed")
	}
}

// Different objects or targets have different names, wherever the names are cut, and each name is valid.
func FuzzFoundTargetName(f *testing.F) {
	f.Add("web", "PersistentVolumeClaim", "data", "web", "Deployment", "data")
	f.Add("a", "StatefulSet", strings.Repeat("x", 253), "a", "StatefulSet", strings.Repeat("x", 252))
	f.Add("a", "Deployment", "b.c", "a", "Deployment", "b-c")
	f.Add("a", "Deployment", "b.c", "a", "Deployment", "b..c")
	f.Add(strings.Repeat("t", 63), "DaemonSet", "a", strings.Repeat("t", 63), "DaemonSet", "b")
	f.Fuzz(func(t *testing.T, target, kind, object, target2, kind2, object2 string) {
		valid := func(target, kind, object string) bool {
			return len(validation.IsDNS1123Label(target)) == 0 && slices.Contains(v1alpha1.TargetKinds,
				v1alpha1.TargetKind(kind)) &&
				len(validation.IsDNS1123Subdomain(object)) == 0
		}
		if !valid(target, kind, object) || !valid(target2, kind2, object2) {
			return
		}
		name, other := policy.FoundTargetName(target, kind, object), policy.FoundTargetName(target2, kind2, object2)
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			t.Errorf("%q: %v", name, problems)
		}
		same := target == target2 && kind == kind2 && object == object2
		plain := func(target, kind, object string) string { return target + "-" + strings.ToLower(kind) + "-" + object }
		if name == other && !same && plain(target, kind, object) != plain(target2, kind2, object2) {
			t.Errorf("%q is both %s %s %s and %s %s %s", name, target, kind, object, target2, kind2, object2)
		}
		if !same || name != other {
			return
		}
		if repository := policy.TemplateName(strings.Repeat("r", 250), name); len(repository) > 253 ||
			len(policy.ChildName(strings.Repeat("b", 63), name)) > 63 {
			t.Errorf("%q is too long for its child or Repository %q", name, repository)
		}
	})
}

// BenchmarkExpandSelected is BenchmarkExpand for a batch with two selectors that each find 500 of 2,000 objects.
func BenchmarkExpandSelected(b *testing.B) {
	const found = 500
	batch := policytest.BatchOf()
	var candidates []policy.Candidate
	batch.Spec.Sessions = nil
	for i, app := range []string{"shop", "bank"} {
		session := policytest.NewSession(app, "17 * * * *")
		session.Targets = []v1alpha1.BatchSessionTarget{{Name: app}}
		session.Repositories = []v1alpha1.RepositoryInfo{{
			Name: "kept", Backend: "main", Directory: "/kept",
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}}
		batch.Spec.Sessions = append(batch.Spec.Sessions, session)
		batch.Spec.Targets = append(batch.Spec.Targets,
			v1alpha1.BatchTarget{Name: app, Selector: &v1alpha1.TargetSelector{
				Kinds: []v1alpha1.TargetKind{claim, deployment}, LabelSelector: policytest.Labelled(app),
				MaxTargets: found,
				Exclude:    &v1alpha1.TargetExclusion{LabelSelector: policytest.Labelled("cache")},
			}})
		for j := range found {
			candidates = append(candidates, policytest.Candidate(claim, fmt.Sprintf("data-%d-%d", i, j), app),
				policytest.Candidate(claim, fmt.Sprintf("other-%d-%d", i, j), "cache"))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if children, err := policy.Expand(batch, policy.FindAmong(batch, candidates)); err != nil ||
			len(children) != 2*found {
			b.Fatal(len(children), err)
		}
	}
	b.ReportMetric(float64(b.N*2*found)/b.Elapsed().Seconds(), "targets/s")
}
