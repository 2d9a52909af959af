package index

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// Of two Repositories that overlap, one has the directory, whichever looks first, and is kept from it by nobody.
func TestWhoHasADirectory(t *testing.T) {
	t.Parallel()
	const byDirectory = Directories("directory")
	const nobody, older, younger = "", "older/web", "younger/web"
	for name, tt := range map[string]struct {
		// initialised and stranger name Repositories: those that an init Job has proved, and those in a namespace that
		// the storage does not allow.
		initialised, stranger []string
		prefix, olderPath     string
		withoutStorage        bool
		moved                 bool
		has                   string
	}{
		"two that were not initialised": {has: older},
		"two that were initialised":     {initialised: []string{older, younger}, has: older},
		"the older was initialised":     {initialised: []string{older}, has: older},
		"the younger was initialised":   {initialised: []string{younger}, has: younger},
		"the older is a stranger":       {stranger: []string{older}, has: younger},
		"the younger is a stranger":     {stranger: []string{younger}, has: older},
		"two strangers":                 {stranger: []string{older, younger}, has: nobody},
		"the older has become a stranger": {
			initialised: []string{older}, stranger: []string{older}, has: older,
		},
		"the older lies outside of its prefix":      {prefix: "/{namespace}", olderPath: "/younger", has: younger},
		"the older has no valid directory":          {olderPath: "/younger/web/kopia", has: younger},
		"there is no storage":                       {withoutStorage: true, has: nobody},
		"the storage has moved, without a stranger": {initialised: []string{younger}, moved: true, has: younger},
		"the storage has moved, with a stranger": {
			initialised: []string{older}, stranger: []string{older}, moved: true, has: younger,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			storage := testbed.S3("backup")
			storage.Spec.UsagePolicy.AllowedNamespaces = v1alpha1.AllowedNamespaces{
				From:     new(v1alpha1.NamespacesFromSelector),
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"friend": "yes"}},
			}
			storage.Spec.UsagePolicy.DirectoryPrefix = tt.prefix
			proved := *storage.DeepCopy()
			if tt.moved {
				storage.Spec.Storage.S3.Bucket = "another"
			}
			at := func(namespace, path string, minute int) *v1alpha1.Repository {
				r := repositoryAt(namespace, path)
				r.UID = types.UID(namespace)
				r.CreationTimestamp = metav1.NewTime(time.Date(2026, 11, 20, 8, minute, 0, 0, time.UTC))
				for _, name := range tt.initialised {
					if name == namespace+"/web" {
						r.Status.InitializedSpec = policy.RepositoryPlace("backup", proved.Spec.Storage, r.Spec.Path)
					}
				}
				return r
			}
			path := tt.olderPath
			if path == "" {
				path = "/younger/web"
			}
			first, second := at("older", path, 0), at("younger", "/younger/web", 1)
			objects := []client.Object{first, second}
			for _, r := range []*v1alpha1.Repository{first, second} {
				labels := map[string]string{"friend": "yes"}
				for _, name := range tt.stranger {
					if name == r.Namespace+"/web" {
						labels = nil
					}
				}
				objects = append(objects, &corev1.Namespace{
					ObjectMeta: metav1.ObjectMeta{Name: r.Namespace, Labels: labels},
				})
			}
			if !tt.withoutStorage {
				objects = append(objects, storage)
			}
			reader := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(objects...).
				WithIndex(first, string(byDirectory), func(o client.Object) []string {
					return DirectoryEntries(DirectoryKeys(o.(*v1alpha1.Repository)))
				}).Build()
			of := func(r *v1alpha1.Repository) string {
				elder, err := byDirectory.Elder(t.Context(), reader, "prod", r)
				g.Expect(err).NotTo(HaveOccurred())
				if elder == nil {
					return nobody
				}
				return elder.Namespace + "/" + elder.Name
			}
			want := []string{nobody, nobody}
			switch {
			case tt.has == older:
				want[1] = older
			case tt.has == younger && second.Status.InitializedSpec != "":
				want[0] = younger // else only its storage refuses the older one
			}
			g.Expect([]string{of(first), of(second)}).To(Equal(want))
			made := second.DeepCopy()
			made.Name, made.UID = "new", ""
			if tt.has == nobody {
				g.Expect(of(made)).To(Equal(nobody))
			} else {
				g.Expect(of(made)).To(Equal(tt.has), "a new one comes after all others")
			}
		})
	}
}
