package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestSpine goes the whole way: policy in Git, expanded, backups of each sort of target, restore, records in Git.
func TestSpine(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	deploySpineApp(t, bed)
	s := &spine{bed: bed, policy: commitSpinePolicy(t, bed)}
	t.Run("policy in Git is applied and expanded", s.applied)
	t.Run("the expansion is kept", s.expansion)
	t.Run("a session backs up each sort of target", s.session)
	t.Run("a mover can touch nothing of others", s.rights)
	t.Run("a restored volume equals the original", s.restore)
	t.Run("a restore is refused where it would do harm", s.refusals)
	t.Run("the records are in Git", s.records)
	t.Run("the log tells each step once", s.log)
	t.Run("a target that leaves takes no data along", s.leave)
	t.Run("the watched branch was never written to", s.watchedBranch)
}

// spine is what the steps of TestSpine share. Each builds on the ones before.
type spine struct {
	bed     *testbed.Testbed
	policy  *testbed.Checkout
	commits []string // the commits that a person pushed, oldest first
	ended   *v1alpha1.BackupSession
}

func commitSpinePolicy(t *testing.T, bed *testbed.Testbed) *testbed.Checkout {
	t.Helper()
	g := NewWithT(t)
	policy, err := bed.Clone(t.Context(), t.TempDir(), "spine-"+started, "main")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(policy.Write("policy/storage.yaml", spineStorage())).To(Succeed())
	g.Expect(policy.Write("policy/app.yaml", spineBatch)).To(Succeed())
	return policy
}

func (s *spine) push(t *testing.T, message string) string {
	t.Helper()
	commit, err := s.policy.CommitAndPush(t.Context(), "main", message)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	s.commits = append(s.commits, commit)
	return commit
}

// inForce waits until a commit is in force.
func (s *spine) inForce(t *testing.T, commit string) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "commit "+commit, func(ctx contextT) (bool, error) {
		var sync v1alpha1.PolicySync
		err := s.bed.Client.Get(ctx, client.ObjectKey{Namespace: spineNamespace, Name: "spine"}, &sync)
		return err == nil && sync.Status.LastAppliedRevision == "main@sha1:"+commit, err
	})).To(Succeed())
}

func (s *spine) applied(t *testing.T) {
	commit := s.push(t, "Back up the application")
	applyTo(t, s.bed, spineNamespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: PolicySync
metadata: {name: spine}
spec:
  url: `+s.bed.Git.SSHURL+`/spine-`+started+`.git
  path: policy
  interval: 2s
  prune: true
  secretRef: {name: git-credentials}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Ledger
metadata: {name: records}
spec:
  url: `+s.bed.Git.URL+`/spine-`+started+`.git
  clusterName: e2e
  secretRef: {name: git-credentials}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: spine}}
`)
	s.inForce(t, commit)
	waitReady(t, s.bed, &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: spineNamespace, Name: "app"}},
		metav1.ConditionTrue, "")
}

func (s *spine) child(t *testing.T, name string) *v1alpha1.BackupConfiguration {
	t.Helper()
	child := &v1alpha1.BackupConfiguration{}
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "child "+name, func(ctx contextT) (bool, error) {
		err := s.bed.Client.Get(ctx, client.ObjectKey{Namespace: spineNamespace, Name: name}, child)
		return err == nil, client.IgnoreNotFound(err)
	})).To(Succeed())
	return child
}

func (s *spine) expansion(t *testing.T) {
	g := NewWithT(t)
	deleted := s.child(t, "app-web")
	g.Expect(s.bed.Client.Delete(t.Context(), deleted)).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "a deleted child to return", func(ctx contextT) (bool, error) {
		var child v1alpha1.BackupConfiguration
		err := s.bed.Client.Get(ctx, client.ObjectKeyFromObject(deleted), &child)
		return err == nil && child.UID != deleted.UID, client.IgnoreNotFound(err)
	})).To(Succeed())

	edited := s.child(t, "app-db")
	want := edited.Spec.DeepCopy()
	// meets no conflict
	edit := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"target":{"name":"another"}}}`))
	g.Expect(s.bed.Client.Patch(t.Context(), edited.DeepCopy(), edit)).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "an edited child to be put right", func(ctx contextT) (bool, error) {
		var child v1alpha1.BackupConfiguration
		err := s.bed.Client.Get(ctx, client.ObjectKeyFromObject(edited), &child)
		return err == nil && child.Spec.Target.Name == want.Target.Name, err
	})).To(Succeed())
	waitReady(t, s.bed, &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: spineNamespace, Name: "app"}},
		metav1.ConditionTrue, "")
}

func (s *spine) session(t *testing.T) {
	g := NewWithT(t)
	s.ended = endOf(t, s.bed, spineNamespace, startSession(t, s.bed, spineNamespace, "app", "daily"))
	g.Expect(s.ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", s.ended.Status.Targets)
	var names []string
	for _, target := range s.ended.Status.Targets {
		names = append(names, target.Name)
		g.Expect(target.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), target.Message)
	}
	g.Expect(names).To(Equal([]string{"files", "web", "db", "agent"}))
	g.Expect(s.ended.Status.Resolved.Policy.Revision).To(Equal("main@sha1:" + s.commits[0]))

	components := map[string][]string{}
	for _, info := range s.ended.Status.Snapshots {
		var snapshot v1alpha1.Snapshot
		g.Expect(s.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: spineNamespace, Name: info.Name},
			&snapshot)).To(Succeed())
		for name, c := range snapshot.Status.Components {
			components[info.Repository] = append(components[info.Repository], name)
			g.Expect(c.ID).NotTo(BeEmpty())
			g.Expect(c.Files).To(BeNumerically(">", 0))
		}
	}
	node := nodeName(t, s.bed)
	g.Expect(components).To(HaveKeyWithValue("app-files", []string{"pvc"}))
	g.Expect(components).To(HaveKeyWithValue("app-web", ConsistOf("pages", "uploads")), "one component a volume")
	g.Expect(components).To(HaveKeyWithValue("app-db", ConsistOf("pod-0", "pod-1")), "one component a pod")
	g.Expect(components).To(HaveKeyWithValue("app-agent", []string{node}), "one component a node")

	var jobs batchv1.JobList
	g.Expect(s.bed.Client.List(t.Context(), &jobs, client.InNamespace(spineNamespace),
		client.MatchingLabels{v1alpha1.LabelBackupSession: s.ended.Name})).To(Succeed())
	perChild := map[string]int{}
	for _, job := range jobs.Items {
		perChild[job.Labels[v1alpha1.LabelConfiguration]]++
		for _, mount := range job.Spec.Template.Spec.Containers[0].VolumeMounts {
			if strings.HasPrefix(mount.MountPath, "/cairn/volumes/") {
				g.Expect(mount.ReadOnly).To(BeTrue(), "the target's volumes are mounted read-only")
			}
		}
	}
	g.Expect(perChild).To(Equal(map[string]int{"app-files": 1, "app-web": 1, "app-db": 2, "app-agent": 1}),
		"Jobs are built from the children, one for each pod or node")
}

func nodeName(t *testing.T, bed *testbed.Testbed) string {
	t.Helper()
	var nodes corev1.NodeList
	NewWithT(t).Expect(bed.Client.List(t.Context(), &nodes)).To(Succeed())
	return nodes.Items[0].Name
}

func (s *spine) restore(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, s.bed, spineNamespace, claimManifest("files-restored"))
	applyTo(t, s.bed, spineNamespace, restoreManifest("again", "files-restored", "app-files", "latest"))
	restored := endOfRestore(t, s.bed, spineNamespace, "again")
	g.Expect(restored.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%s: %+v", restored.Status.Reason,
		restored.Status.Components)
	g.Expect(restored.Status.Components["pvc"].OwnersNotRestored).To(BeZero())

	manifests := map[string]string{}
	for _, claim := range []string{"files", "files-restored"} {
		pod := testbed.VolumePod{Namespace: spineNamespace, Name: "reader", Claim: claim}
		g.Expect(s.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
			manifests[claim], err = s.bed.Manifest(ctx, spineNamespace, "reader", "/data")
			return err
		})).To(Succeed())
	}
	_, entries, err := testbed.SameTree(manifests["files"], manifests["files-restored"])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(BeNumerically(">", 20), "an empty volume proves nothing")
}

func claimManifest(name string) string {
	return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ` + name + `}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
`
}

func restoreManifest(name, claim, repository, snapshot string) string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: ` + name + `}
spec:
  target: {kind: PersistentVolumeClaim, name: ` + claim + `}
  dataSource: {repository: ` + repository + `, snapshot: ` + snapshot + `}
  addon:
    name: pvc-addon
    tasks: [{name: logical-backup-restore, params: {setID: "true"}}]
    jobTemplate: {spec: {securityContext: {runAsUser: 0}}}
`
}

func endOfRestore(t *testing.T, bed *testbed.Testbed, namespace, name string) *v1alpha1.RestoreSession {
	t.Helper()
	restore := &v1alpha1.RestoreSession{}
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the end of RestoreSession "+name,
		func(ctx contextT) (bool, error) {
			err := bed.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, restore)
			return err == nil && restore.Status.Phase.Terminal(), err
		})).To(Succeed())
	return restore
}

func (s *spine) refusals(t *testing.T) {
	for name, tc := range map[string]struct {
		manifest string
		phase    v1alpha1.RestoreSessionPhase
		reason   string
	}{
		"in-use": {restoreManifest("in-use", "pages", "app-files",
			"latest"), v1alpha1.RestoreSessionFailed, v1alpha1.ReasonVolumeInUse},
		"not-empty": {restoreManifest("not-empty", "files", "app-files",
			"latest"), v1alpha1.RestoreSessionFailed, v1alpha1.ReasonVolumeNotEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			applyTo(t, s.bed, spineNamespace, tc.manifest)
			restore := endOfRestore(t, s.bed, spineNamespace, name)
			NewWithT(t).Expect([]string{string(restore.Status.Phase), restore.Status.Reason}).
				To(Equal([]string{string(tc.phase), tc.reason}))
		})
	}
	t.Run("the same again", func(t *testing.T) {
		g := NewWithT(t)
		old := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: spineNamespace, Name: "again"}}
		g.Expect(s.bed.Client.Delete(t.Context(), old)).To(Succeed())
		g.Expect(testbed.Poll(t.Context(), patience, "the end of the RestoreSession", func(ctx contextT) (bool, error) {
			err := s.bed.Client.Get(ctx, client.ObjectKeyFromObject(old), old)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})).To(Succeed())
		applyTo(t, s.bed, spineNamespace, restoreManifest("again", "files-restored", "app-files", "latest"))
		restore := endOfRestore(t, s.bed, spineNamespace, "again")
		g.Expect(restore.Status.Phase).To(Equal(v1alpha1.RestoreSessionSkipped))
		g.Expect(restore.Status.Reason).To(Equal(v1alpha1.ReasonAlreadyRestored))
	})
}

// leave takes a target out of the policy.
func (s *spine) leave(t *testing.T) {
	g := NewWithT(t)
	_, err := s.policy.Git(t.Context(), "rm", "--quiet", "policy/app.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	smaller := withoutTarget(spineBatch, "agent")
	g.Expect(s.policy.Write("policy/app.yaml", smaller)).To(Succeed())
	s.inForce(t, s.push(t, "The agent needs no backup"))
	g.Expect(testbed.Poll(t.Context(), patience, "the child of the target that left to go",
		func(ctx contextT) (bool, error) {
			err := s.bed.Client.Get(ctx, client.ObjectKey{Namespace: spineNamespace, Name: "app-agent"},
				&v1alpha1.BackupConfiguration{})
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})).To(Succeed())
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: spineNamespace, Name: "app-agent"}}
	waitReady(t, s.bed, repository, metav1.ConditionTrue, "")
	objects, err := s.bed.ObjectCount(t.Context(), testbed.Bucket, "spine-"+started+"/app/agent/")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(BeNumerically(">", 3), "the repository's data stays")
}

// withoutTarget cuts the target's two parts out of spineBatch, where it is the last in both lists.
func withoutTarget(batch, name string) string {
	var out []string
	skip := false
	for _, line := range strings.Split(batch, "\n") {
		if strings.HasPrefix(line, "  - {name: "+name+",") {
			continue
		}
		if strings.HasPrefix(line, "    - name: ") {
			skip = line == "    - name: "+name
		}
		if !skip {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func (s *spine) watchedBranch(t *testing.T) {
	g := NewWithT(t)
	clone, err := s.bed.Clone(t.Context(), filepath.Join(t.TempDir(), "main"), "spine-"+started, "main")
	g.Expect(err).NotTo(HaveOccurred())
	log, err := clone.Git(t.Context(), "log", "--reverse", "--format=%H")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Split(log, "\n")).To(Equal(s.commits), "the branch has only what a person pushed")
}
