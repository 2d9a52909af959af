package retention_test

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// naming is a BackupConfiguration of the namespace shop that backs up into the Repository web.
func naming(name string, policy *v1alpha1.ObjectReference) v1alpha1.BackupConfiguration {
	return v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: v1alpha1.BackupConfigurationSpec{
			Backends: []v1alpha1.BackendReference{{Name: "main", RetentionPolicy: policy}},
			Sessions: []v1alpha1.BackupConfigurationSession{{Repositories: []v1alpha1.RepositoryInfo{{Name: "web"}}}},
		},
	}
}

func TestTheOnePolicyOfARepository(t *testing.T) {
	keep, other := &v1alpha1.ObjectReference{Name: "keep"}, &v1alpha1.ObjectReference{Namespace: "vault", Name: "other"}
	full := &v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"}
	for name, tc := range map[string]struct {
		configurations []v1alpha1.BackupConfiguration
		fallback       *v1alpha1.ObjectReference
		ref            *v1alpha1.ObjectReference
		isDefault      bool
		conflict       string
	}{
		"nobody uses it, and there is a default": {fallback: other},
		"one names none":                         {configurations: []v1alpha1.BackupConfiguration{naming("a", nil)}},
		"one names none, and there is a default": {
			[]v1alpha1.BackupConfiguration{naming("a", nil)},
			other, other, true,
			"",
		},
		"an empty reference is none": {
			[]v1alpha1.BackupConfiguration{naming("a", &v1alpha1.ObjectReference{})}, other, other, true, "",
		},
		"what is named wins": {
			[]v1alpha1.BackupConfiguration{naming("a", keep)},
			other, full, false,
			"",
		},
		"one names the default": {
			[]v1alpha1.BackupConfiguration{naming("a", keep), naming("b", nil)},
			full, full, false, "",
		},
		"one names another than the default": {
			[]v1alpha1.BackupConfiguration{naming("a", keep), naming("b", nil)},
			other, nil, false, "a names shop/keep, b has the default vault/other",
		},
		"one names one, and there is no default": {
			[]v1alpha1.BackupConfiguration{naming("a", keep), naming("b", nil)},
			nil, nil, false, "a names shop/keep, b names none",
		},
		"two name different ones, beside a default": {
			[]v1alpha1.BackupConfiguration{naming("a", keep), naming("b", other)},
			other, nil, false, "a names shop/keep, b names vault/other",
		},
		"several name the same": {
			[]v1alpha1.BackupConfiguration{
				naming("a", keep), naming("b", other), naming("c", keep), naming("d", other),
			},
			nil, nil, false, "a names shop/keep, b names vault/other",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := retention.Resolve("web", tc.configurations, tc.fallback)
			backwards := slices.Clone(tc.configurations)
			slices.Reverse(backwards)
			g.Expect(retention.Resolve("web", backwards, tc.fallback)).To(Equal(got), "a list has no order")
			if tc.conflict != "" {
				g.Expect(got.Conflict).To(HaveSuffix(": " + tc.conflict))
				return
			}
			g.Expect(got.Conflict).To(BeEmpty())
			g.Expect(got.Ref).To(Equal(tc.ref))
			g.Expect(got.Default).To(Equal(tc.isDefault))
			g.Expect(got.Unused).To(Equal(len(tc.configurations) == 0))
		})
	}
}

// Somebody added a second backend. Which policy the Repository has, nobody can tell now.
func TestTheDefaultDoesNotDecideWhereABackendIsUnknown(t *testing.T) {
	g := NewWithT(t)
	two := naming("a", &v1alpha1.ObjectReference{Name: "keep"})
	two.Spec.Backends = append(two.Spec.Backends, v1alpha1.BackendReference{Name: "more"})
	three := naming("b", nil)
	three.Spec.Sessions[0].Repositories[0].Backend = "gone"
	for _, list := range [][]v1alpha1.BackupConfiguration{{two, three}, {three, two}} {
		got := retention.Resolve("web", list, &v1alpha1.ObjectReference{Namespace: "vault", Name: "other"})
		g.Expect(got.Ref).To(BeNil())
		g.Expect(got.Conflict).To(Equal("BackupConfiguration a does not say which of its backends this Repository has"))
	}
}

func TestRepositoriesTogetherUnderADefault(t *testing.T) {
	g := NewWithT(t)
	fallback := &v1alpha1.ObjectReference{Namespace: "vault", Name: "keep"}
	web, db, own := naming("web", nil), naming("db", nil), naming("own", &v1alpha1.ObjectReference{Name: "other"})
	db.Spec.Sessions[0].Repositories[0].Name, own.Spec.Sessions[0].Repositories[0].Name = "db", "own"
	children := []v1alpha1.BackupConfiguration{web, db, own}
	g.Expect(retention.SiblingRepositories(children, "web", *fallback, fallback)).To(Equal([]string{"db"}))
	g.Expect(retention.SiblingRepositories(children, "web", *fallback, nil)).To(BeEmpty())
}

// Two batches can back up into one Repository. The lists of a cache have no order, so the name decides which batch says
// what belongs together.
func TestTheChildOfARepositoryFollowsFromTheNames(t *testing.T) {
	child := func(name, batch string) v1alpha1.BackupConfiguration {
		c := naming(name, nil)
		c.Labels = map[string]string{v1alpha1.LabelBatch: batch}
		return c
	}
	all := []v1alpha1.BackupConfiguration{
		child("nightly-web", "nightly"), child("hourly-web", "hourly"), naming("x", nil),
	}
	for range 2 {
		slices.Reverse(all)
		resolved := retention.Resolve("web", all, nil)
		NewWithT(t).Expect(resolved.Child.Name).To(Equal("nightly-web"))
	}
}
