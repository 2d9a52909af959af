package main

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// sidecarRights tries what a sidecar that was taken over is allowed to report, with the shipped ClusterRole and the
// shipped admission policy.
func sidecarRights(t *testing.T) {
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sidecars"}})).
		To(Succeed())
	g.Expect(access.EnsureSidecar(t.Context(), bed.Client, "sidecars")).To(Succeed())
	snapshot := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "sidecars", Name: "s",
			Annotations: map[string]string{
				v1alpha1.AnnotationMovers: "data=web-1", v1alpha1.AnnotationSidecarCredentials: "JTI=a,JTI=b",
			},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: "r", Session: "s", BackupSession: "b",
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
		},
	}
	manager := as(t, "cairn-system", name, "")
	g.Eventually(func() error { return manager.Create(t.Context(), snapshot) }, testbed.Patience, "100ms").
		Should(Succeed(), "only the manager says who is a sidecar")
	sidecar := func(credential string) client.Client {
		config := rest.CopyConfig(bed.Config)
		config.Impersonate = rest.ImpersonationConfig{
			UserName: "system:serviceaccount:sidecars:" + v1alpha1.SidecarServiceAccount,
			Extra:    map[string][]string{"authentication.kubernetes.io/credential-id": {credential}},
		}
		c, err := client.New(config, client.Options{Scheme: bed.Client.Scheme()})
		g.Expect(err).NotTo(HaveOccurred())
		return c
	}
	for name, tt := range map[string]struct{ credential, patch, denied string }{
		"its own component": {"JTI=a", `{"status":{"components":{"data":{"phase":"Running"}}}}`, ""},
		"the component of another token": {
			"JTI=c", `{"status":{"components":{"data":{"phase":"Running"}}}}`, "this sidecar has no work in s",
		},
		"another component": {
			"JTI=b", `{"status":{"components":{"logs":{"phase":"Running"}}}}`, "only its own components: data",
		},
		// Retention and restores would believe that a VolumeSnapshot of the sidecar's choice is the backup.
		"VolumeSnapshots, which only the manager has seen": {
			"JTI=a",
			`{"status":{"components":{"data":{"volumeSnapshotterStats":[{"pvcName":"data","volumeSnapshotName":"x"}]}}}}`,
			"a sidecar can't set volumeSnapshotterStats",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := sidecar(tt.credential)
			try := func() error {
				return c.Status().Patch(t.Context(), snapshot.DeepCopy(),
					client.RawPatch("application/merge-patch+json", []byte(tt.patch)), client.DryRunAll)
			}
			if tt.denied == "" {
				g.Eventually(try, testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
			} else {
				g.Eventually(try, testbed.Patience, "100ms").Should(MatchError(ContainSubstring(tt.denied)),
					"the policy is in force")
			}
		})
	}
}
