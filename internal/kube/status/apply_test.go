package status

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The UID keeps a status from an object that was deleted and made again under its name: a Ledger would call the
// namesake recorded. controllers/ledger has the same against an API server.
func TestPatchSameNamesTheUID(t *testing.T) {
	g := NewWithT(t)
	var sent []byte
	c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(runtime.NewScheme()).Build(), interceptor.Funcs{
		SubResourcePatch: func(
			_ context.Context, _ client.Client, _ string, o client.Object, p client.Patch,
			_ ...client.SubResourcePatchOption,
		) (err error) {
			sent, err = p.Data(o)
			return err
		},
	})
	meta := &metav1.ObjectMeta{Namespace: "shop", Name: "nightly", UID: "u-1"}
	g.Expect(Writer{Client: c}.PatchSame(t.Context(), v1alpha1.BackupSessionKind, meta, "ledger",
		Operation{Op: "test", Path: "/status/records"})).To(Succeed())
	g.Expect(string(sent)).To(MatchJSON(`[
		{"op": "test", "path": "/metadata/uid", "value": "u-1"},
		{"op": "test", "path": "/status/records", "value": null}
	]`))
}
