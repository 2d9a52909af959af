package read_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// kinds are the kinds whose deletion can bring the removal of data, and Ledgers, which hold up a deletion.
var kinds = map[string]client.Object{
	"backupbatches": &v1alpha1.BackupBatch{}, "backupconfigurations": &v1alpha1.BackupConfiguration{},
	"backupstorages": &v1alpha1.BackupStorage{}, "ledgers": &v1alpha1.Ledger{},
	"policysyncs": &v1alpha1.PolicySync{}, "repositories": &v1alpha1.Repository{}, "snapshots": &v1alpha1.Snapshot{},
}

// began is when the API server began to delete something.
var began = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func TestWhatTakesAnObjectAlong(t *testing.T) {
	const namespace, kind, other = "shop", "repositories." + v1alpha1.Group, "snapshots." + v1alpha1.Group
	down, none := errors.New("down"), schema.GroupResource{}
	forbidden := apierrors.NewForbidden(none, kind, down)
	proxy := apierrors.NewGenericServerResponse(404, "get", none, "", "", 0, true)
	for says, tt := range map[string]struct {
		givenUp bool
		gone    []string
		going   []string
		fails   map[string]error
		want    retention.Kept
		since   time.Time
		err     string
	}{
		"nothing":                    {},
		"the namespace goes":         {going: []string{namespace}, want: retention.NamespaceGoes, since: began},
		"the namespace is gone":      {gone: []string{namespace}, want: retention.NamespaceGoes},
		"the kind goes":              {going: []string{kind}, want: retention.KindGoes, since: began},
		"the kind is gone":           {gone: []string{kind}, want: retention.KindGoes},
		"both go":                    {going: []string{namespace, kind}, want: retention.NamespaceGoes, since: began},
		"another kind goes":          {going: []string{other}},
		"nobody knows of the kind":   {fails: map[string]error{kind: down}, err: "CustomResourceDefinition " + kind},
		"a proxy knows no kind":      {fails: map[string]error{kind: proxy}, err: "CustomResourceDefinition " + kind},
		"the manager lacks a right":  {fails: map[string]error{kind: forbidden}, err: kind},
		"nobody knows the namespace": {fails: map[string]error{namespace: down}, err: "get Namespace shop"},
		"the namespace goes, and the manager lacks a right": {
			going: []string{namespace}, fails: map[string]error{kind: forbidden}, want: retention.NamespaceGoes,
			since: began,
		},
		"somebody gave it up": {
			givenUp: true, fails: map[string]error{namespace: down, kind: down}, want: retention.GivenUp,
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			live := apiServer(tt.fails, tt.going, tt.gone, namespace, kind, other)
			o := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", UID: "uid"}}
			if tt.givenUp {
				o.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: "uid"}
			}
			why, err := read.WhyKept(t.Context(), live, o)
			if tt.err != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tt.err)))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(why).To(Equal(tt.want))
			if tt.givenUp {
				return
			}
			along, since, _ := read.TakenAlong(t.Context(), live, o)
			g.Expect(along).To(Equal(tt.want))
			g.Expect(since.Equal(tt.since)).To(BeTrue(), since.String())
		})
	}
}

// apiServer has a Namespace, and CRDs. It fails to read some of them, some are going, and some gone.
func apiServer(fails map[string]error, going, gone []string, namespace string, crds ...string) client.Reader {
	build := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithInterceptorFuncs(interceptor.Funcs{Get: func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption,
	) error {
		if err := fails[key.Name]; err != nil {
			return err
		}
		return c.Get(ctx, key, o)
	}})
	add := func(o client.Object, name string) {
		o.SetName(name)
		if slices.Contains(going, name) {
			o.SetDeletionTimestamp(&metav1.Time{Time: began})
			o.SetFinalizers([]string{"example.com/held"})
		}
		if !slices.Contains(gone, name) {
			build.WithObjects(o)
		}
	}
	add(&corev1.Namespace{}, namespace)
	for _, crd := range crds {
		add(&apiextensionsv1.CustomResourceDefinition{}, crd)
	}
	return build.Build()
}

// The definition of each kind has the name that Cairn asks for, and the manager is allowed to read it.
func TestTheDefinitionOfEachKindCanBeRead(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "rbac", "manager_role.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var role rbacv1.ClusterRole
	g.Expect(yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(text)), len(text)).Decode(&role)).To(Succeed())
	var allowed []string
	for _, rule := range role.Rules {
		if slices.Contains(rule.Resources, "customresourcedefinitions") {
			g.Expect(rule.Verbs).To(Equal([]string{"get"}))
			allowed = append(allowed, rule.ResourceNames...)
		}
	}
	var asked []string
	for plural, o := range kinds {
		_, err := fs.Stat(config.CRDs, path.Join("crd", "bases", v1alpha1.Group+"_"+plural+".yaml"))
		g.Expect(err).NotTo(HaveOccurred())
		live := reading(g).WithInterceptorFuncs(interceptor.Funcs{Get: func(
			_ context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption,
		) error {
			if _, ok := o.(*corev1.Namespace); !ok {
				g.Expect(key.Name).To(Equal(plural + "." + v1alpha1.Group))
				asked = append(asked, key.Name)
			}
			return nil
		}}).Build()
		_, err = read.WhyKept(t.Context(), live, o)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(asked).To(ConsistOf(allowed))
}
