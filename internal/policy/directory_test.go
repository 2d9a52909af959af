package policy

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestNormalizeDirectory(t *testing.T) {
	for given, want := range map[string]string{
		"/a": "a", "a/": "a", "a": "a", "//a//b/": "a/b", "./a/./b": "a/b", "/": "", "": "", ".": "", "a b": "a b",
		"../a": "a", "A": "A",
	} {
		NewWithT(t).Expect(NormalizeDirectory(given)).To(Equal(want), "%q", given)
	}
}

func TestDirectoryKeys(t *testing.T) {
	g := NewWithT(t)
	storage := v1alpha1.ObjectReference{Name: "s3"}
	g.Expect(DirectoryKeys("shop", storage, "/a/b//c/")).To(Equal([]string{
		"shop/s3/a/b/c", "shop/s3/a/b",
		"shop/s3/a",
	}))
	g.Expect(DirectoryKeys("shop", v1alpha1.ObjectReference{Namespace: "backup", Name: "s3"},
		"a")).To(Equal([]string{"backup/s3/a"}))
	g.Expect(DirectoryKeys("shop", storage, "/")).To(Equal([]string{"shop/s3/"}))
	g.Expect(directoryKey("shop", storage, "./a/b")).To(Equal("shop/s3/a/b"))
}

func TestDirectoriesOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"the same directory":           {"a/b", "/a/b/", true},
		"inside":                       {"a", "a/b", true},
		"far inside":                   {"a", "a/b/c/d", true},
		"around":                       {"a/b", "a", true},
		"neighbours":                   {"a/b", "a/c", false},
		"a prefix of letters":          {"a/b", "a/bc", false},
		"a prefix of letters at first": {"a", "ab", false},
		"one name in two places":       {"a/c", "b/c", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			one, two := DirectoryKeys("n", v1alpha1.ObjectReference{Name: "s"}, c.a), DirectoryKeys("n",
				v1alpha1.ObjectReference{Name: "s"}, c.b)
			g.Expect(slices.Contains(one, two[0]) || slices.Contains(two, one[0])).To(Equal(c.want))
		})
	}
}

func TestOlder(t *testing.T) {
	object := func(name string, second int64) metav1.Object {
		return &metav1.ObjectMeta{
			Namespace: "shop", Name: name,
			CreationTimestamp: metav1.NewTime(time.Unix(second, 0)),
		}
	}
	g := NewWithT(t)
	g.Expect(Older(object("b", 1), object("a", 2))).To(BeTrue())
	g.Expect(Older(object("a", 2), object("b", 1))).To(BeFalse())
	g.Expect(Older(object("a", 1), object("b", 1))).To(BeTrue(), "both were created in one second, so the name decides")
	g.Expect(Older(object("b", 1), object("a", 1))).To(BeFalse())
	g.Expect(Older(object("a", 1), object("a", 1))).To(BeFalse(), "no object is older than itself")
}
