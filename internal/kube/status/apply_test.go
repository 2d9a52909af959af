package status

import (
	"context"
	"encoding/json"
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
// namesake recorded.
func TestApplyNamesTheUID(t *testing.T) {
	g := NewWithT(t)
	var sent []byte
	c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(runtime.NewScheme()).Build(), interceptor.Funcs{
		SubResourceApply: func(
			_ context.Context, _ client.Client, _ string, o runtime.ApplyConfiguration,
			_ ...client.SubResourceApplyOption,
		) (err error) {
			sent, err = json.Marshal(o)
			return err
		},
	})
	meta := &metav1.ObjectMeta{Namespace: "shop", Name: "nightly", UID: "u-1"}
	g.Expect(Writer{Client: c}.Apply(t.Context(), v1alpha1.BackupSessionKind, meta, "ledger", map[string]any{})).
		To(Succeed())
	g.Expect(string(sent)).To(ContainSubstring(`"uid":"u-1"`))
}
