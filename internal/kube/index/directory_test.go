package index

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func repositoryAt(namespace, path string) *v1alpha1.Repository {
	return &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			StorageRef: v1alpha1.ObjectReference{Namespace: "backup", Name: "s3"}, Path: path,
		},
	}
}

// The queries of each directory must find the entries of the other exactly where the two overlap, and each entry only
// once.
func TestQueriesFindWhatOverlaps(t *testing.T) {
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"the same directory":        {"/shop/web", "shop/web/", true},
		"one in the other":          {"/shop", "/shop/web", true},
		"far in the other":          {"/shop", "/shop/a/b/c", true},
		"neighbours":                {"/shop/web", "/shop/db", false},
		"a common prefix of a name": {"/a", "/ab", false},
		"a common inner element":    {"/a/web", "/b/web", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
				entries, hits := DirectoryEntries(DirectoryKeys(repositoryAt("one", pair[0]))), 0
				for _, query := range DirectoryQueries(DirectoryKeys(repositoryAt("two", pair[1]))) {
					if slices.Contains(entries, query) {
						hits++
					}
				}
				g.Expect(hits == 1).To(Equal(test.want), "%v: %d", pair, hits)
				g.Expect(hits).To(BeNumerically("<=", 1), "%v", pair)
			}
		})
	}
}

func TestTakenNamesTheOther(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Taken(repositoryAt("a", "web/"),
		repositoryAt("b", "/web"))).To(Equal("Repository b/web has this directory already"))
	g.Expect(Taken(repositoryAt("a", "/web/x"), repositoryAt("b", "/web"))).To(Equal(
		`Repository b/web has the directory "/web" already, and one can't lie in another`))
}
