package trigger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Somebody starts two sessions by turns, as `backup.cairn.dev/trigger: <session>` offers it. An event that names a
// started run is true: the run was started now. A manager that is killed before it writes the status starts none twice.
func TestEachRunThatAnEventNamesWasStarted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	events := record.NewFakeRecorder(10)
	k := &Scheduler{Client: c, Reader: c, Events: events, FieldManager: "cairn-manager"}
	configuration := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "uploads", UID: "uid", Generation: 1,
	}}
	for _, name := range []string{"nightly", "weekly"} {
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, v1alpha1.BackupConfigurationSession{
			SessionConfig: v1alpha1.SessionConfig{Name: name},
		})
	}
	now := at(t, "11-20T09:00:00")
	for i, value := range []string{"nightly", "weekly", "nightly", "weekly"} {
		metav1.SetMetaDataAnnotation(&configuration.ObjectMeta, v1alpha1.AnnotationTrigger, value)
		killed, err := viewOf(configuration.DeepCopy())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(k.startIfAsked(t.Context(), killed, now.Add(time.Duration(i)*24*time.Hour))).To(Succeed())
		g.Expect(events.Events).To(Receive())
		v, err := viewOf(configuration)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(k.startIfAsked(t.Context(), v, now.Add(time.Duration(i)*24*time.Hour))).To(Succeed())
		g.Expect(events.Events).To(Receive(HavePrefix("Normal Triggered started BackupSession ")))
		var runs v1alpha1.BackupSessionList
		g.Expect(c.List(t.Context(), &runs, client.InNamespace("shop"))).To(Succeed())
		g.Expect(runs.Items).To(HaveLen(i+1), "the annotation changed for the %d. time, to %s", i+1, value)
	}
}
