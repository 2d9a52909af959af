package cli_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/managedfields"
)

// What kubectl has paused a PolicySync resumes, but not what "cairn pause" has. To resume takes the field from all.
func TestAPauseIsCairnsAlsoWhereKubectlHasPaused(t *testing.T) {
	ns := namespace(t, "pause-again")
	g := NewWithT(t)
	photos := &v1alpha1.BackupConfiguration{}
	for _, o := range read(t, "testdata/shop.yaml") {
		if o.GetKind() == v1alpha1.BackupConfigurationKind && o.GetName() == "photos" {
			o.SetNamespace(ns)
			g.Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
		}
	}
	photos.Namespace, photos.Name = ns, "photos"
	kubectl := func() {
		g.Expect(bed.Client.Patch(t.Context(), photos, client.RawPatch(types.MergePatchType,
			[]byte(`{"spec":{"paused":true}}`)), client.FieldOwner("kubectl-patch"))).To(Succeed())
	}
	owners := func() (out []string) {
		photos := &v1alpha1.BackupConfiguration{}
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "photos"}, photos)).To(Succeed())
		for _, e := range photos.ManagedFields {
			fields, err := managedfields.OwnedBy(e.Manager, photos)
			g.Expect(err).NotTo(HaveOccurred())
			if fields.Has(fieldpath.MakePathOrDie("spec", "paused")) {
				out = append(out, e.Manager)
			}
		}
		g.Expect(photos.Spec.Paused).To(Equal(len(out) > 0))
		return out
	}
	kubectl()
	g.Expect(owners()).To(ConsistOf("kubectl-patch"))
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).To(Equal(result{out: "BackupConfiguration/photos is paused\n"}))
	g.Expect(owners()).To(ConsistOf("kubectl-patch", "cairn"))
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).
		To(Equal(result{out: "BackupConfiguration/photos is paused already\n"}))
	g.Expect(runIn(t, "resume", "bc/photos", "-n", ns)).To(Equal(result{out: "BackupConfiguration/photos goes on\n"}))
	g.Expect(owners()).To(BeEmpty())
	g.Expect(runIn(t, "resume", "bc/photos", "-n", ns)).
		To(Equal(result{out: "BackupConfiguration/photos goes on already\n"}))

	// What a source of policy applies goes with that source.
	apply := func(manager string, spec map[string]any) {
		t.Helper()
		u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.BackupConfigurationKind))
		u.SetNamespace(ns)
		u.SetName("photos")
		g.Expect(bed.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u),
			client.FieldOwner(manager))).To(Succeed())
	}
	for _, manager := range []string{"cairn-policysync", "kustomize-controller"} {
		apply(manager, map[string]any{"paused": true})
		g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).To(Equal(result{
			out: "BackupConfiguration/photos is paused already, by the policy that " + manager + " applies\n",
		}))
		g.Expect(owners()).To(ConsistOf(manager))
		apply(manager, nil)
		g.Expect(owners()).To(BeEmpty())
	}
	apply("kubectl", map[string]any{"paused": true})
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).To(Equal(result{out: "BackupConfiguration/photos is paused\n"}))
	g.Expect(owners()).To(ConsistOf("kubectl", "cairn"))
	apply("cairn-policysync", map[string]any{"paused": true})
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).
		To(Equal(result{out: "BackupConfiguration/photos is paused already\n"}))
	g.Expect(runIn(t, "resume", "bc/photos", "-n", ns)).To(Equal(result{out: "BackupConfiguration/photos goes on\n"}))

	// An earlier version has patched the field.
	g.Expect(bed.Client.Patch(t.Context(), photos, client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"paused":true}}`)), client.FieldOwner("cairn"))).To(Succeed())
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).
		To(Equal(result{out: "BackupConfiguration/photos is paused already\n"}))
}

func TestPauseAndResume(t *testing.T) {
	ns := namespace(t, "pause")
	g := NewWithT(t)
	var policies []client.Object
	for _, o := range read(t, "testdata/shop.yaml") {
		if strings.HasPrefix(o.GetKind(), "Backup") && o.GetKind() != v1alpha1.BackupSessionKind {
			o.SetNamespace(ns)
			g.Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
			policies = append(policies, o)
		}
	}
	paused := func() bool {
		var batch v1alpha1.BackupBatch
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "shop"}, &batch)).To(Succeed())
		return batch.Spec.Paused
	}
	g.Expect(runIn(t, "pause", "batch/shop", "-n", ns)).To(Equal(result{out: "BackupBatch/shop is paused\n"}))
	g.Expect(paused()).To(BeTrue())
	g.Expect(runIn(t, "get", "policies", "-n", ns).out).To(MatchRegexp(`batch/shop .* paused`))
	g.Expect(runIn(t, "pause", "bb/shop", "-n", ns)).To(Equal(result{out: "BackupBatch/shop is paused already\n"}))
	g.Expect(runIn(t, "resume", "batch/shop", "-n", ns)).To(Equal(result{out: "BackupBatch/shop goes on\n"}))
	g.Expect(paused()).To(BeFalse())
	g.Expect(runIn(t, "pause", "bc/photos", "-n", ns)).To(Equal(result{out: "BackupConfiguration/photos is paused\n"}))

	var photos v1alpha1.BackupConfiguration
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "photos"}, &photos)).To(Succeed())
	at := metav1.NewTime(pinned)
	photos.Status.Conditions = []metav1.Condition{
		{
			Type: v1alpha1.ConditionProtected, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLate,
			Message:            "too old",
			LastTransitionTime: at,
		},
	}
	photos.Status.Sessions = []v1alpha1.SessionStatus{{Name: "by-hand", Conditions: []metav1.Condition{
		{
			Type: v1alpha1.ConditionSlotsMissed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSuspended,
			Message: "slots pass", LastTransitionTime: at,
		},
	}}}
	g.Expect(bed.Client.Status().Update(t.Context(), &photos)).To(Succeed())
	g.Expect(runIn(t, "get", "policies", "-n", ns).out).
		To(And(ContainSubstring("\n    Late: too old\n"), ContainSubstring("\n    session by-hand: slots pass\n")))
	for _, o := range policies {
		if o.GetName() == "shop" {
			photos.OwnerReferences = []metav1.OwnerReference{
				*metav1.NewControllerRef(o, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
			}
		}
	}
	g.Expect(bed.Client.Update(t.Context(), &photos)).To(Succeed())
	g.Expect(runIn(t, "resume", "bc/photos", "-n", ns)).
		To(
			Equal(
				result{
					code: 1,
					err: "error: BackupConfiguration/photos has no schedule of its own: pause or resume its batch, " +
						"batch/shop\n",
				}))
	g.Expect(runIn(t, "pause", "bc/nosuch", "-n", ns)).
		To(
			Equal(
				result{
					code: 1,
					err: "error: there is no BackupConfiguration nosuch in namespace pause: \"cairn get policies\" " +
						"lists them\n",
				}))
	g.Expect(runIn(t, "pause", "shop", "-n", ns).code).To(Equal(2))
}
