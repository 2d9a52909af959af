package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// managerRights asks the API server what the manager's account is allowed to do. Rights that would open the cluster
// must not be among it. The tests that run the manager show that the rest is enough.
func managerRights(t *testing.T) {
	for ask, want := range map[string]bool{
		"get secrets":                            true,
		"list secrets":                           false,
		"watch secrets":                          false,
		"update secrets":                         false,
		"list nodes":                             false,
		"create pods":                            false,
		"create pods/exec":                       false,
		"get pods/log":                           false,
		"create roles.rbac.authorization.k8s.io": false,
		"patch clusterroles.rbac.authorization.k8s.io":                  false,
		"escalate clusterroles.rbac.authorization.k8s.io":               false,
		"bind clusterroles.rbac.authorization.k8s.io":                   false,
		"create clusterrolebindings.rbac.authorization.k8s.io":          false,
		"bind clusterroles.rbac.authorization.k8s.io cairn-mover":       true,
		"bind clusterroles.rbac.authorization.k8s.io cairn-trigger":     true,
		"bind clusterroles.rbac.authorization.k8s.io cairn-sidecar":     true,
		"bind clusterroles.rbac.authorization.k8s.io cairn-snapshotter": true,
		"create volumesnapshots.snapshot.storage.k8s.io":                true,
		"delete volumesnapshotcontents.snapshot.storage.k8s.io":         true, // see contentRights
		"delete volumesnapshots.snapshot.storage.k8s.io":                true,
		"watch volumesnapshots.snapshot.storage.k8s.io":                 false,
		"patch volumesnapshotcontents.snapshot.storage.k8s.io":          true,
		// what a restore borrowed can outlive its namespace
		"list volumesnapshotcontents.snapshot.storage.k8s.io":  true,
		"watch volumesnapshotcontents.snapshot.storage.k8s.io": false,
		"list resourcequotas":    true,
		"get resourcequotas":     false,
		"get persistentvolumes":  true,
		"list persistentvolumes": false,
		"bind clusterroles.rbac.authorization.k8s.io cluster-admin": false,
		"create serviceaccounts/token":                              false,
		"impersonate users":                                         false,
		"impersonate groups":                                        false,
		"impersonate serviceaccounts":                               false,
		"impersonate serviceaccounts deployer":                      false,
		"impersonate serviceaccounts cairn-hook":                    true,
		"impersonate serviceaccounts cairn-policy":                  true,
		"get serviceaccounts":                                       false,
		"get serviceaccounts cairn-policy":                          true,
		"patch serviceaccounts":                                     false,
		"patch serviceaccounts cairn-mover":                         true,
		"patch rolebindings.rbac.authorization.k8s.io":              false,
		"create rolebindings.rbac.authorization.k8s.io":             false,
		"patch rolebindings.rbac.authorization.k8s.io cairn-mover":  true,
		"patch namespaces":                                          false,
		"create persistentvolumeclaims":                             true,
		"delete persistentvolumeclaims":                             true, // see claimRights
		"get deployments.apps":                                      true,
		"patch deployments.apps":                                    false,
		"patch statefulsets.apps":                                   false,
		"patch functions.backup.cairn.dev":                          false,
		"patch addons.backup.cairn.dev":                             false,
		"patch hooktemplates.backup.cairn.dev":                      true,
		"create backupsessions.backup.cairn.dev":                    true,
		"delete backupsessions.backup.cairn.dev":                    true,
		"update backupsessions.backup.cairn.dev":                    false,
		"delete snapshots.backup.cairn.dev":                         true,
		"create leases.coordination.k8s.io":                         true,
		"list leases.coordination.k8s.io":                           false,
		"delete leases.coordination.k8s.io":                         false,
		"get services":                                              true,
		"create tokenreviews.authentication.k8s.io":                 true, // of those who read the metrics
		"create subjectaccessreviews.authorization.k8s.io":          true,
		"watch services":                                            true,
		"update deployments/scale.apps":                             false,
		"list horizontalpodautoscalers.autoscaling":                 false,
		"patch services":                                            false,
		"list endpointslices.discovery.k8s.io":                      true,
		"get clusters.postgresql.cnpg.io":                           true,
		"list clusters.postgresql.cnpg.io":                          false,
		"get appbindings.appcatalog.appscode.com":                   true,
		"delete policysyncs.backup.cairn.dev":                       false,
		"patch snapshots/status.backup.cairn.dev":                   true,
		"update backupsessions/finalizers.backup.cairn.dev":         true,

		"get customresourcedefinitions.apiextensions.k8s.io":                            false,
		"list customresourcedefinitions.apiextensions.k8s.io":                           false,
		"delete customresourcedefinitions.apiextensions.k8s.io":                         false,
		"get customresourcedefinitions.apiextensions.k8s.io snapshots.backup.cairn.dev": true,
	} {
		t.Run(ask, func(t *testing.T) {
			g := NewWithT(t)
			words := strings.Fields(ask + " ")
			resource, group, _ := strings.Cut(words[1], ".")
			resource, sub, _ := strings.Cut(resource, "/")
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:   "system:serviceaccount:cairn-system:" + name,
				Groups: []string{"system:serviceaccounts", "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: "default", Verb: words[0], Group: group,
					Resource: resource, Subresource: sub,
				},
			}}
			if len(words) > 2 {
				review.Spec.ResourceAttributes.Name = words[2]
			}
			g.Expect(bed.Client.Create(t.Context(), review)).To(Succeed())
			g.Expect(review.Status.Allowed).To(Equal(want), review.Status.Reason)
		})
	}
}

// claimRights tries which claims the manager is allowed to delete, with the shipped ClusterRole and the shipped
// admission policy.
func claimRights(t *testing.T) {
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "claims"}})).
		To(Succeed())
	manager := as(t, "cairn-system", name, "")
	session := metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupSessionKind,
		Name: "run", UID: "u",
	}
	label := map[string]string{v1alpha1.LabelCopy: "run"}
	for says, tt := range map[string]struct {
		labels  map[string]string
		owners  []metav1.OwnerReference
		replace func(*corev1.PersistentVolumeClaim) string
		may     bool
	}{
		"a copy of a run":           {label, []metav1.OwnerReference{session}, nil, true},
		"a claim of an application": {nil, nil, nil, false},
		"one with the label alone":  {label, nil, nil, false},
		"one with the owner alone":  {nil, []metav1.OwnerReference{session}, nil, false},
		"one that a restore replaces": {
			nil, nil, func(c *corev1.PersistentVolumeClaim) string { return string(c.UID) },
			true,
		},
		"one with the UID of another": {
			nil, nil, func(*corev1.PersistentVolumeClaim) string { return "another" }, false,
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
				Namespace: "claims", GenerateName: "c-", Labels: tt.labels, OwnerReferences: tt.owners,
			}}
			claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
			claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
			g.Expect(bed.Client.Create(t.Context(), claim)).To(Succeed())
			if tt.replace != nil {
				claim.Annotations = map[string]string{v1alpha1.AnnotationReplace: tt.replace(claim)}
				g.Expect(bed.Client.Update(t.Context(), claim)).To(Succeed())
			}
			try := func() error { return manager.Delete(t.Context(), claim, client.DryRunAll) }
			if tt.may {
				g.Eventually(try, testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
			} else {
				g.Eventually(try, testbed.Patience, "100ms").
					Should(MatchError(ContainSubstring("is not a copy that Cairn made")),
						"the policy is in force")
			}
		})
	}
}

// contentRights tries which contents of VolumeSnapshots the manager is allowed to create and delete. Before it, the
// cluster has no such kind.
func contentRights(t *testing.T) {
	kinds, err := testbed.SnapshotKinds()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, err = envtest.InstallCRDs(bed.Config, envtest.CRDInstallOptions{Paths: kinds})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	manager := as(t, "cairn-system", name, "")
	lent := map[string]string{v1alpha1.LabelRestoreSession: "r"}
	marked := map[string]string{"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}
	imported := snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")}
	for says, tt := range map[string]struct {
		labels, annotations map[string]string
		policy              snapshotv1.DeletionPolicy
		imported            bool
		may                 []string
	}{
		"what a restore lends": {
			labels: lent, imported: true,
			policy: snapshotv1.VolumeSnapshotContentRetain, may: []string{"create", "delete"},
		},
		"one that takes its data away": {
			labels: lent, imported: true, policy: snapshotv1.VolumeSnapshotContentDelete,
		},
		"one that was made from a volume": {labels: lent, policy: snapshotv1.VolumeSnapshotContentRetain},
		"one of somebody else": {
			imported: true, policy: snapshotv1.VolumeSnapshotContentRetain,
		},
		"one of a backup":                  {policy: snapshotv1.VolumeSnapshotContentRetain},
		"one of a backup that is to go":    {policy: snapshotv1.VolumeSnapshotContentDelete},
		"one whose VolumeSnapshot is gone": {annotations: marked, policy: snapshotv1.VolumeSnapshotContentRetain},
		"one that should have gone with its VolumeSnapshot": {
			annotations: marked, policy: snapshotv1.VolumeSnapshotContentDelete, may: []string{"delete"},
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			content := func(name string) *snapshotv1.VolumeSnapshotContent {
				out := &snapshotv1.VolumeSnapshotContent{
					ObjectMeta: metav1.ObjectMeta{GenerateName: name, Labels: tt.labels, Annotations: tt.annotations},
					Spec: snapshotv1.VolumeSnapshotContentSpec{
						VolumeSnapshotRef: corev1.ObjectReference{Namespace: "default", Name: "s"},
						DeletionPolicy:    tt.policy,
						Driver:            "disk.example.com",
						Source:            snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("h")},
					},
				}
				if tt.imported {
					out.Spec.Source = imported
				}
				return out
			}
			there := content("there-")
			g.Expect(bed.Client.Create(t.Context(), there)).To(Succeed())
			for what, try := range map[string]func() error{
				"create": func() error { return manager.Create(t.Context(), content("new-"), client.DryRunAll) },
				"delete": func() error { return manager.Delete(t.Context(), there, client.DryRunAll) },
			} {
				if slices.Contains(tt.may, what) {
					g.Eventually(try, testbed.Patience, "100ms").Should(Succeed(), what+": the rights are in force")
				} else {
					g.Eventually(try, testbed.Patience,
						"100ms").Should(MatchError(ContainSubstring("does not lend a snapshot to a restore")),
						what+": the policy is in force")
				}
			}
			change := func(edit func(*snapshotv1.VolumeSnapshotContent)) error {
				changed := there.DeepCopy()
				edit(changed)
				return manager.Patch(t.Context(), changed, client.MergeFrom(there), client.DryRunAll)
			}
			release := func() error {
				return change(func(c *snapshotv1.VolumeSnapshotContent) {
					c.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
					metav1.SetMetaDataAnnotation(&c.ObjectMeta, "example.com/a", "b")
				})
			}
			const refusal = "only the snapshot controller sets or removes the mark"
			switch {
			case tt.policy == snapshotv1.VolumeSnapshotContentRetain && tt.annotations != nil:
				g.Expect(release()).To(MatchError(ContainSubstring("its deletionPolicy keeps the data")))
			case tt.policy == snapshotv1.VolumeSnapshotContentRetain && tt.imported:
				g.Eventually(release, testbed.Patience, "100ms").
					Should(MatchError(ContainSubstring("was not made from a volume: its deletionPolicy stays")),
						"the policy is in force")
			default:
				g.Expect(release()).To(Succeed())
			}
			if tt.annotations != nil {
				g.Expect(change(func(c *snapshotv1.VolumeSnapshotContent) { c.Annotations = nil })).
					To(MatchError(ContainSubstring(refusal)))
			} else {
				g.Expect(change(func(c *snapshotv1.VolumeSnapshotContent) { c.Annotations = marked })).
					To(MatchError(ContainSubstring(refusal)))
				made := content("new-")
				made.Annotations, made.Spec.DeletionPolicy = marked, snapshotv1.VolumeSnapshotContentRetain
				made.Labels, made.Spec.Source = lent, imported
				g.Expect(manager.Create(t.Context(), made, client.DryRunAll)).To(MatchError(ContainSubstring(refusal)))
			}
			if tt.labels == nil {
				g.Expect(change(func(c *snapshotv1.VolumeSnapshotContent) { c.Labels = lent })).
					To(MatchError(ContainSubstring("restore-session is set only when a content is made")))
			}
			g.Expect(bed.Client.Delete(t.Context(), there)).To(Succeed())
		})
	}
	t.Run("the source, with kinds that let it change", func(t *testing.T) { sourceRights(t, manager) })
}

// sourceRights tries to change what a content was made from. The kinds of the snapshot controller forbid that only
// since version 8.
func sourceRights(t *testing.T, manager client.Client) {
	g := NewWithT(t)
	kind := &unstructured.Unstructured{}
	kind.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	key := client.ObjectKey{Name: "volumesnapshotcontents." + snapshotv1.GroupName}
	g.Expect(bed.Client.Get(t.Context(), key, kind)).To(Succeed())
	withoutRules(kind.Object)
	g.Expect(bed.Client.Update(t.Context(), kind)).To(Succeed())
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "there-"},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "default", Name: "s"},
			DeletionPolicy:    snapshotv1.VolumeSnapshotContentRetain, Driver: "disk.example.com",
			Source: snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), content)).To(Succeed())
	before := content.DeepCopy()
	content.Spec.Source = snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("h")}
	g.Eventually(func() error {
		return bed.Client.Patch(t.Context(), content.DeepCopy(), client.MergeFrom(before), client.DryRunAll)
	}, testbed.Patience, "100ms").Should(Succeed(), "the kind lets it change")
	g.Expect(manager.Patch(t.Context(), content.DeepCopy(), client.MergeFrom(before), client.DryRunAll)).
		To(MatchError(ContainSubstring("what it was made from does not change")))
	g.Expect(bed.Client.Delete(t.Context(), before)).To(Succeed())
}

// withoutRules removes the CEL rules of a schema.
func withoutRules(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		delete(s, "x-kubernetes-validations")
		for _, v := range s {
			withoutRules(v)
		}
	case []any:
		for _, v := range s {
			withoutRules(v)
		}
	}
}

// volumeSnapshotRights tries which VolumeSnapshots the manager is allowed to delete. contentRights has installed the
// kind.
func volumeSnapshotRights(t *testing.T) {
	manager := as(t, "cairn-system", name, "")
	for says, tt := range map[string]struct {
		labels map[string]string
		may    bool
	}{
		"one of Cairn's":   {map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}, true},
		"one of a user":    {nil, false},
		"one of a program": {map[string]string{v1alpha1.LabelManagedBy: "another"}, false},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			v := &snapshotv1.VolumeSnapshot{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "v-", Namespace: "default", Labels: tt.labels},
				Spec: snapshotv1.VolumeSnapshotSpec{
					Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: new("data")},
				},
			}
			g.Expect(bed.Client.Create(t.Context(), v)).To(Succeed())
			try := func() error { return manager.Delete(t.Context(), v, client.DryRunAll) }
			if tt.may {
				g.Eventually(try, testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
			} else {
				g.Eventually(try, testbed.Patience, "100ms").
					Should(MatchError(ContainSubstring("was not made by Cairn")),
						"the policy is in force")
			}
			g.Expect(bed.Client.Delete(t.Context(), v)).To(Succeed())
		})
	}
}

// as returns a client with the token of a pod. Without a pod the token is bound to none.
func as(t testing.TB, namespace, account, pod string) client.Client {
	t.Helper()
	config := rest.CopyConfig(bed.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + account,
		Extra:    map[string][]string{},
	}
	if pod != "" {
		config.Impersonate.Extra["authentication.kubernetes.io/pod-name"] = []string{pod}
	}
	c, err := client.New(config, client.Options{Scheme: bed.Client.Scheme()})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c
}

// moverRights tries what a mover is allowed to write, with the shipped ClusterRole and the shipped admission policy.
func moverRights(t *testing.T) {
	g := NewWithT(t)
	for _, ns := range []string{"movers", "others"} {
		g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})).
			To(Succeed())
		g.Expect(access.EnsureMover(t.Context(), bed.Client, ns)).To(Succeed())
	}
	snapshot := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "movers", Name: "s",
			Annotations: map[string]string{v1alpha1.AnnotationMovers: "data=backup-a-b,logs=backup-a"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: "r", Session: "s", BackupSession: "b",
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
		},
	}
	manager := as(t, "cairn-system", name, "")
	g.Eventually(func() error { return manager.Create(t.Context(), snapshot) }, testbed.Patience, "100ms").
		Should(Succeed(), "only the manager says who is a mover")

	const own = `{"status":{"components":{"data":{"phase":"Running"}}}}`
	for name, tt := range map[string]struct {
		namespace, pod, patch string
		denied                string
	}{
		"its own component": {"movers", "backup-a-b-x7k2p", own, ""},
		"a component of another Job": {
			"movers", "backup-a-b-x7k2p",
			`{"status":{"components":{"logs":{"phase":"Running"}}}}`, "can change only its own components: data",
		},
		"a Job whose name begins like another's": {
			"movers", "backup-a-x7k2p", own,
			"can change only its own components: logs",
		},
		"a component that nobody has": {
			"movers", "backup-a-b-x7k2p",
			`{"status":{"components":{"more":{"phase":"Running"}}}}`, "can change only its own components",
		},
		"a pod of no Job of the Snapshot": {"movers", "backup-z-x7k2p", own, "is not a mover of s"},
		"a pod whose name is that of the Job": {
			"movers", "backup-a-b", own,
			"can change only its own components: logs",
		},
		"a token that is bound to no pod": {"movers", "", own, "must be bound to its pod"},
		"the account of another namespace": {
			"others", "backup-a-b-x7k2p", own,
			`cannot patch resource "snapshots/status"`,
		},
		"what the manager writes": {
			"movers", "backup-a-b-x7k2p", `{"status":{"phase":"Succeeded"}}`,
			"can change only its own components in status",
		},
		"the annotation that it is judged by, by the way": {
			"movers", "backup-a-b-x7k2p",
			`{"metadata":{"annotations":{"backup.cairn.dev/movers":"logs=backup-a-b"}},"status":{"components":{"logs":{"phase":"Running"}}}}`, "own components",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			mover := as(t, tt.namespace, v1alpha1.MoverServiceAccount, tt.pod)
			try := func() error {
				return mover.Status().Patch(t.Context(), snapshot.DeepCopy(),
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

	t.Run("a record names no mover", func(t *testing.T) {
		g := NewWithT(t)
		record := snapshot.DeepCopy()
		record.ObjectMeta = metav1.ObjectMeta{Namespace: "movers", Name: "record", Annotations: map[string]string{
			v1alpha1.AnnotationMovers: "data=backup-a-b", v1alpha1.AnnotationRecord: "c",
		}}
		g.Expect(bed.Client.Create(t.Context(), record)).To(Succeed())
		mover := as(t, "movers", v1alpha1.MoverServiceAccount, "backup-a-b-x7k2p")
		g.Expect(mover.Status().Patch(t.Context(), record, client.RawPatch("application/merge-patch+json", []byte(own)),
			client.DryRunAll)).To(MatchError(ContainSubstring("is not a mover of record")))
	})

	t.Run("the Snapshot itself, a Secret and a pod are out of reach", func(t *testing.T) {
		g := NewWithT(t)
		mover := as(t, "movers", v1alpha1.MoverServiceAccount, "backup-a-b-x7k2p")
		g.Expect(
			mover.Patch(t.Context(), snapshot.DeepCopy(),
				client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`)))).
			To(MatchError(ContainSubstring(`cannot patch resource "snapshots"`)))
		g.Expect(mover.Get(t.Context(), client.ObjectKey{Namespace: "movers", Name: "x"}, &corev1.Secret{})).
			To(MatchError(ContainSubstring(`cannot get resource "secrets"`)))
		g.Expect(mover.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "movers", Name: "x"}})).
			To(MatchError(ContainSubstring(`cannot create resource "pods"`)))
	})
}

// triggerRights tries which BackupSessions the pod of a CronJob is allowed to create.
func triggerRights(t *testing.T) {
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "triggers"}})).
		To(Succeed())
	g.Expect(access.EnsureTrigger(t.Context(), bed.Client, "triggers")).To(Succeed())
	long := strings.Repeat("c", 52)
	for name, tt := range map[string]struct {
		pod, cronJob, metadata string
		denied                 string
	}{
		"its own CronJob":                   {"trigger-a-29384756-x7k2p", "trigger-a", "", ""},
		"a long CronJob, cut by Kubernetes": {long + "-29384x7k2p", long, "", ""},
		"another CronJob": {
			"trigger-a-29384756-x7k2p", "trigger-b", "",
			"is not a pod of CronJob trigger-b",
		},
		"a CronJob whose name begins like it": {
			"trigger-a-b-29384756-x7k2p", "trigger-a", "",
			"is not a pod of CronJob trigger-a",
		},
		"no CronJob":                      {"trigger-a-29384756-x7k2p", "", "", "must name the CronJob of the pod"},
		"a token that is bound to no pod": {"", "trigger-a", "", "must be bound to its pod"},
		"a finalizer": {
			"trigger-a-29384756-x7k2p", "trigger-a",
			`{"finalizers":["backup.cairn.dev/record"]}`, "must preset no finalizers",
		},
		"a run that looks like a record of one": {
			"trigger-a-29384756-x7k2p", "trigger-a",
			`{"annotations":{"backup.cairn.dev/record":"c"}}`, "must preset no finalizers",
		},
		"an owner that takes it along as it goes": {
			"trigger-a-29384756-x7k2p", "trigger-a",
			`{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}`,
			"must preset no finalizers",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			trigger := as(t, "triggers", v1alpha1.TriggerServiceAccount, tt.pod)
			session := &v1alpha1.BackupSession{Spec: v1alpha1.BackupSessionSpec{
				Invoker: v1alpha1.TypedLocalObjectReference{
					APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
					Name: "c",
				}, Session: "s",
			}}
			if tt.metadata != "" {
				g.Expect(json.Unmarshal([]byte(tt.metadata), &session.ObjectMeta)).To(Succeed())
			}
			session.Namespace, session.Name = "triggers", "run"
			if tt.cronJob != "" {
				metav1.SetMetaDataAnnotation(&session.ObjectMeta, v1alpha1.AnnotationCronJob, tt.cronJob)
			}
			try := func() error { return trigger.Create(t.Context(), session.DeepCopy(), client.DryRunAll) }
			if tt.denied == "" {
				g.Eventually(try, testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
			} else {
				g.Eventually(try, testbed.Patience, "100ms").Should(MatchError(ContainSubstring(tt.denied)),
					"the policy is in force")
			}
		})
	}
	t.Run("it must not create a retry of another run", func(t *testing.T) {
		session := &v1alpha1.BackupSession{Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
				Name: "c",
			}, Session: "s", RetryOf: "other",
		}}
		session.Namespace, session.Name = "triggers", "run"
		metav1.SetMetaDataAnnotation(&session.ObjectMeta, v1alpha1.AnnotationCronJob, "trigger-a")
		trigger := as(t, "triggers", v1alpha1.TriggerServiceAccount, "trigger-a-29384756-x7k2p")
		NewWithT(t).Expect(trigger.Create(t.Context(), session, client.DryRunAll)).
			To(MatchError(ContainSubstring("not a retry of another run")))
	})
	t.Run("everything else is out of reach", func(t *testing.T) {
		g := NewWithT(t)
		trigger := as(t, "triggers", v1alpha1.TriggerServiceAccount, "trigger-a-29384756-x7k2p")
		g.Expect(trigger.List(t.Context(), &v1alpha1.BackupSessionList{}, client.InNamespace("triggers"))).
			To(MatchError(ContainSubstring("forbidden")))
		g.Expect(trigger.Get(t.Context(), client.ObjectKey{Namespace: "triggers", Name: "x"}, &corev1.Secret{})).
			To(MatchError(ContainSubstring("forbidden")))
	})
}
