package policy

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestNormalizeDirectory(t *testing.T) {
	for given, want := range map[string]string{
		"/a": "a", "a/": "a", "a": "a", "//a//b/": "a/b", "./a/./b": "a/b", "/": "", "": "", ".": "", "a b": "a b", "../a": "a", "A": "A",
	} {
		NewWithT(t).Expect(NormalizeDirectory(given)).To(Equal(want), "%q", given)
	}
}

func TestOlderRepository(t *testing.T) {
	repository := func(name string, second int64) *v1alpha1.Repository {
		return &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(second, 0)),
		}}
	}
	g := NewWithT(t)
	g.Expect(OlderRepository(repository("b", 1), repository("a", 2))).To(BeTrue())
	g.Expect(OlderRepository(repository("a", 2), repository("b", 1))).To(BeFalse())
	g.Expect(OlderRepository(repository("a", 1), repository("b", 1))).To(BeTrue(), "a second holds both: the name decides")
	g.Expect(OlderRepository(repository("b", 1), repository("a", 1))).To(BeFalse())
}
