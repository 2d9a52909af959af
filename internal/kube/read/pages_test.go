package read_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
)

// server answers each request for the path with the next text.
func server(t *testing.T, answers ...string) client.Client {
	t.Helper()
	g := NewWithT(t)
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answers[asked%len(answers)])
		asked++
	}))
	t.Cleanup(s.Close)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind(v1alpha1.SnapshotKind), meta.RESTScopeNamespace)
	c, err := client.New(&rest.Config{Host: s.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	g.Expect(err).NotTo(HaveOccurred())
	return c
}

const ofSnapshots = `{"apiVersion":"backup.cairn.dev/v1alpha1","kind":"SnapshotList",`

// The last page has no token, and its objects have nothing of those on the pages before.
func TestPagesEnd(t *testing.T) {
	g := NewWithT(t)
	c := server(t,
		ofSnapshots+`"metadata":{"continue":"more"},"items":[{"metadata":{"name":"a","labels":{"of":"a"}}}]}`,
		ofSnapshots+`"metadata":{},"items":[{"metadata":{"name":"b"}}]}`,
	)
	var names []string
	g.Expect(read.Pages(t.Context(), c, func(page *v1alpha1.SnapshotList) error {
		for _, s := range page.Items {
			names = append(names, s.Name+s.Labels["of"])
		}
		if len(names) > 2 {
			return fmt.Errorf("it does not end: %v", names)
		}
		return nil
	})).To(Succeed())
	g.Expect(names).To(Equal([]string{"aa", "b"}))
}

func TestMetadataIsReadInPages(t *testing.T) {
	g := NewWithT(t)
	c := server(t,
		`{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadataList","metadata":{"continue":"more"},`+
			`"items":[{"metadata":{"name":"a"}}]}`,
		`{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadataList","metadata":{},`+
			`"items":[{"metadata":{"name":"b"}}]}`,
	)
	all, err := read.Metadata(t.Context(), c, v1alpha1.SnapshotKind)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).To(HaveLen(2))
	g.Expect(all[0].Name + all[1].Name).To(Equal("ab"))
}
