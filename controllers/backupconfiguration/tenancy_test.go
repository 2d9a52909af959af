package backupconfiguration

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// TestUsagePolicyOfEachKind checks every kind that policy refers to across namespaces under every usagePolicy.
func TestUsagePolicyOfEachKind(t *testing.T) {
	t.Parallel()
	friends, others := map[string]string{"team": "shop"}, map[string]string{"team": "other"}
	usages := map[string]struct {
		usage   *v1alpha1.UsagePolicy
		allowed bool
	}{
		"nothing said":       {nil, false},
		"All":                {everybody(), true},
		"Same":               {usageOf(v1alpha1.NamespacesFromSame, nil), false},
		"Selector":           {usageOf(v1alpha1.NamespacesFromSelector, friends), true},
		"Selector of others": {usageOf(v1alpha1.NamespacesFromSelector, others), false},
	}
	// share creates the shared object in another namespace, and makes the configuration name it.
	kinds := map[string]struct {
		reason string
		share  func(c *v1alpha1.BackupConfiguration, home string, usage *v1alpha1.UsagePolicy)
	}{
		"BackupStorage": {
			v1alpha1.ReasonStorageNotAllowed,
			func(c *v1alpha1.BackupConfiguration, home string, usage *v1alpha1.UsagePolicy) {
				storage := testbed.S3(home)
				storage.Name, storage.Spec.UsagePolicy = "shared", testbed.Usage(usage)
				bed.Create(t, storage)
				bed.MarkReady(t, storage)
				c.Spec.Backends[0].StorageRef = &v1alpha1.ObjectReference{Namespace: home, Name: "shared"}
			},
		},
		"RetentionPolicy": {
			v1alpha1.ReasonRetentionPolicyNotAllowed,
			func(c *v1alpha1.BackupConfiguration, home string, usage *v1alpha1.UsagePolicy) {
				bed.Create(t, &v1alpha1.RetentionPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "shared"},
					Spec:       v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "1y", UsagePolicy: usage},
				})
				c.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Namespace: home, Name: "shared"}
			},
		},
		"HookTemplate": {
			v1alpha1.ReasonHookTemplateNotAllowed,
			func(c *v1alpha1.BackupConfiguration, home string, usage *v1alpha1.UsagePolicy) {
				bed.Create(t, connecting(home, "shared", usage))
				c.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{PostBackup: []v1alpha1.HookInfo{
					{Name: "a", HookTemplate: &v1alpha1.ObjectReference{Namespace: home, Name: "shared"}},
				}}
			},
		},
	}
	for kind, k := range kinds {
		for name, u := range usages {
			t.Run(kind+" "+name, func(t *testing.T) {
				g := NewWithT(t)
				home, namespace := bed.Namespace(t, nil), bed.Namespace(t, friends)
				bed.ReadyStorage(t, namespace)
				configuration := configurationOf(namespace)
				k.share(configuration, home, u.usage)
				bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
				if u.allowed {
					bed.ReadyRepositories(t, namespace, "uploads")
					bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
					return
				}
				says := "the usagePolicy of " + kind + " " + home + "/shared does not allow the namespace " + namespace
				bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, k.reason, says)
				cronJob := cronJobOf(configuration, "nightly")
				g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(cronJob), cronJob)).
					NotTo(Succeed(), "no CronJob starts runs")
			})
		}
	}
}
