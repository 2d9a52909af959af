package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// everythingAllowed is the widest successPolicy.
const everythingAllowed = "{empty: Allow, unreadable: Allow, changed: Allow, maxShrinkPercent: 100}"

// honestRun is one backup of a volume, and how it must end.
type honestRun struct {
	before  func(t *testing.T) // what happens to the volume first
	policy  string             // of the session; empty is the default
	reason  string             // of the failure; empty is success
	message string             // part of the message; of a success it is in the condition Partial
	counts  v1alpha1.ComponentCounts
	stored  int // backups in the repository after it
}

// honestCase is a doubtful volume and its runs, one after the other.
type honestCase struct {
	name, claim, params string
	runs                []honestRun
}

// honestApp is a namespace with doubtful volumes, whose results a Ledger keeps.
type honestApp struct {
	*volumeApp
	sessions []*v1alpha1.BackupSession // that ended
}

// TestHonestSuccess makes backups that only look successful: of nothing, of a part, of a torn file, of a volume that
// lost its data. By default each fails, says why, and leaves no restore point. Where a successPolicy permits it, the
// run succeeds and says what is missing. The records in Git say the same.
func TestHonestSuccess(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &honestApp{volumeApp: deployVolumeApp(t, bed, "honest", 3, 1000)}
	pushPolicy(t, bed, a.namespace+"-"+started,
		map[string]string{"README.md": "The server has no repository before somebody pushes to it.\n"})
	applyTo(t, bed, a.namespace, ledgerManifest(bed, "records", a.namespace, "git-credentials"))
	for _, claim := range []string{"empty", "closed", "torn", "lost"} {
		applyTo(t, bed, a.namespace, claimManifest(claim))
	}
	for _, c := range a.cases() {
		t.Run(c.name, func(t *testing.T) {
			applyTo(t, bed, a.namespace, honestManifest(c))
			waitReady(t, bed, a.configuration(c.name), metav1.ConditionTrue, "")
			for i, run := range c.runs {
				if run.before != nil {
					run.before(t)
				}
				a.judged(t, c.name, i, run)
			}
		})
	}
	t.Run("the records say the same", a.recordsAgree)
}

func (a *honestApp) cases() []honestCase {
	none := v1alpha1.ComponentCounts{}
	directory := v1alpha1.ComponentCounts{Directories: 1}
	part := v1alpha1.ComponentCounts{Files: 1, Directories: 1, Unreadable: 2}
	torn := v1alpha1.ComponentCounts{Files: 1, Directories: 1, Changed: 1}
	const before = 2 << 20
	return []honestCase{
		{"an-empty-volume", "empty", "", []honestRun{
			{
				a.bind, "", v1alpha1.ReasonEmpty,
				"there is nothing in the volume to back up; successPolicy.empty: Allow would accept that", none, 0,
			},
			{nil, "{empty: Allow}", "", "", directory, 1},
		}},
		{"all-is-excluded", "data", "exclude: file-*", []honestRun{
			{
				nil, "", v1alpha1.ReasonEmpty,
				"everything in it is excluded; successPolicy.empty: Allow would accept that", directory, 0,
			},
			{nil, "{empty: Allow}", "", "", directory, 1},
		}},
		{"a-path-that-matches-nothing", "data", "paths: uploads", []honestRun{
			{nil, "", v1alpha1.ReasonPathNotFound, "path uploads does not exist in the volume", none, 0},
			{nil, everythingAllowed, v1alpha1.ReasonPathNotFound, "path uploads does not exist in the volume", none, 0},
		}},
		{"unreadable-files", "closed", "", []honestRun{
			{
				a.close, "", v1alpha1.ReasonUnreadable,
				"successPolicy.unreadable: Allow would accept a backup of the others", part, 0,
			},
			{nil, "{unreadable: Allow}", "", "lacks 2 entries that could not be read", part, 1},
		}},
		{"files-that-change", "torn", "", []honestRun{
			{
				a.tear, "", v1alpha1.ReasonChanged, "1 file changed at each read, and may be inconsistent",
				torn, 0,
			},
			{nil, "{changed: Allow}", "", "may be torn in 1 file, because something wrote there meanwhile", torn, 1},
		}},
		{"a-volume-that-came-up-empty", "lost", "", []honestRun{
			{func(t *testing.T) {
				a.fill(t, "lost", 2, before/2)
			}, "", "", "", v1alpha1.ComponentCounts{Files: 2, Directories: 1}, 1},
			{a.lose, "", v1alpha1.ReasonEmpty, "but its last backup holds 2.000 MiB", v1alpha1.ComponentCounts{
				PreviousSizeBytes: before,
			}, 1},
			{
				nil, "{empty: Allow}", v1alpha1.ReasonShrunk,
				"only 0 B in 0 files are left of the 2.000 MiB in 2 files of the last backup: if that is right, " +
					"accept it once with acceptShrink of a BackupSession",
				v1alpha1.ComponentCounts{Directories: 1, PreviousSizeBytes: before},
				1,
			},
			{nil, "{empty: Allow, maxShrinkPercent: 100}", "", "", v1alpha1.ComponentCounts{
				Directories: 1, PreviousSizeBytes: before,
			}, 2},
		}},
	}
}

// honestManifest backs a volume up into a repository of the case's name. Each run is a session with its own policy.
func honestManifest(c honestCase) string {
	out := `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: ` + c.name + `}
spec:
  target: {kind: PersistentVolumeClaim, name: ` + c.claim + `}
  backends:
  - {name: main, storageRef: {name: s3}}
  sessions:
`
	for i, run := range c.runs {
		policy := run.policy
		if policy == "" {
			policy = "{}"
		}
		out += fmt.Sprintf(`
  - name: run-%d
    sessionHistoryLimit: 10
    successPolicy: %s
    addon: {name: pvc-addon, tasks: [{name: logical-backup, params: {%s}}], jobTemplate: {spec: {resources: {limits: {cpu: 250m}}}}}
    repositories: [{name: %s, backend: main, directory: %s, encryptionSecret: {name: encryption}}]
`, i, policy, c.params, c.name, c.name)
	}
	return out
}

// judged runs a session and checks everything that reports how the run ended.
func (a *honestApp) judged(t *testing.T, configuration string, number int, want honestRun) {
	t.Helper()
	g, now := NewWithT(t), metav1.Now()
	session := &v1alpha1.BackupSession{
		ObjectMeta: a.meta(fmt.Sprintf("%s-run-%d", configuration, number)),
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: configuration,
			},
			Session: fmt.Sprintf("run-%d", number), ScheduledTime: &now,
		},
	}
	g.Expect(a.bed.Client.Create(t.Context(), session)).To(Succeed())
	session = endOf(t, a.bed, a.namespace, session.Name)
	a.sessions = append(a.sessions, session)
	snapshot := a.snapshot(t, session.Name)
	component, said := snapshot.Status.Components["pvc"], session.Status.Targets[0].Message
	if want.reason == "" {
		said = conditions.GetMessage(session, v1alpha1.ConditionPartial)
		g.Expect([]any{session.Status.Phase, session.Status.Reason}).
			To(Equal([]any{v1alpha1.BackupSessionSucceeded, v1alpha1.ReasonSucceeded}),
				session.Status.Targets[0].Message)
		g.Expect([]any{snapshot.Status.Phase, component.Phase, component.Reason}).
			To(Equal([]any{v1alpha1.SnapshotSucceeded, v1alpha1.SnapshotSucceeded, ""}))
		g.Expect(component.ID).NotTo(BeEmpty())
		g.Expect(said == "").To(Equal(want.message == ""), "whole or not: "+said)
	} else {
		g.Expect([]any{session.Status.Phase, session.Status.Reason}).
			To(Equal([]any{v1alpha1.BackupSessionFailed, want.reason}), said)
		g.Expect([]any{snapshot.Status.Phase, component.Phase, component.Reason}).
			To(Equal([]any{v1alpha1.SnapshotFailed, v1alpha1.SnapshotFailed, want.reason}))
		g.Expect(component.ID).To(BeEmpty(), "no restore point")
	}
	t.Logf("%s: %s %s %s", session.Name, session.Status.Phase, session.Status.Reason, said)
	g.Expect(said).To(ContainSubstring(want.message))
	g.Expect(component.ComponentCounts).To(Equal(want.counts))
	g.Expect(a.inBackend(t, configuration)).To(HaveLen(want.stored), "what is refused is in no repository")
}

// recordsAgree compares the runs in the cluster with their records in Git.
func (a *honestApp) recordsAgree(t *testing.T) {
	g := NewWithT(t)
	recorded(t, a.bed, a.namespace, a.namespace+"/records")
	clone := recordsBranch(t, a.bed, a.namespace+"-"+started)
	files := recordFiles(t, clone, "e2e")
	for _, session := range a.sessions {
		g.Expect(files).To(HaveKeyWithValue(session.Name, HaveLen(1)))
		data, err := os.ReadFile(filepath.Join(clone.Dir, files[session.Name][0]))
		g.Expect(err).NotTo(HaveOccurred())
		documents := strings.Split(string(data), "\n---\n")
		g.Expect(documents).To(HaveLen(2), "the run and its Snapshot")
		var run v1alpha1.BackupSession
		g.Expect(yaml.Unmarshal([]byte(documents[0]), &run)).To(Succeed())
		g.Expect([]any{run.Status.Phase, run.Status.Reason}).
			To(Equal([]any{session.Status.Phase, session.Status.Reason}), session.Name)
		g.Expect(run.Status.Targets[0].Message).To(Equal(session.Status.Targets[0].Message))
		g.Expect(conditions.GetMessage(&run, v1alpha1.ConditionPartial)).
			To(Equal(conditions.GetMessage(session, v1alpha1.ConditionPartial)))
		var snapshot v1alpha1.Snapshot
		g.Expect(yaml.Unmarshal([]byte(documents[1]), &snapshot)).To(Succeed())
		is, was := snapshot.Status.Components["pvc"], a.snapshot(t, session.Name).Status.Components["pvc"]
		g.Expect([]any{snapshot.Status.Phase, is.Phase, is.Reason, is.Error, is.ID}).
			To(Equal([]any{was.Phase, was.Phase, was.Reason, was.Error, was.ID}))
		g.Expect([]int64{is.Files, is.Unreadable, is.Changed, is.SizeBytes}).
			To(Equal([]int64{was.Files, was.Unreadable, was.Changed, was.SizeBytes}))
	}
}

// bind mounts a volume once, which binds its claim.
func (a *honestApp) bind(t *testing.T) { a.inShell(t, "empty", 65532, "ls /data") }

// close fills a volume with a file and a directory that the mover is not allowed to read, and a file that it is.
func (a *honestApp) close(t *testing.T) {
	a.inShell(t, "closed", 1000, `echo mine > /data/open; umask 077; mkdir /data/private; echo mine > /data/private/f`)
	a.inShell(t, "closed", 65532, `umask 0777; echo mine > /data/none`)
}

// lose empties a volume.
func (a *honestApp) lose(t *testing.T) { a.inShell(t, "lost", 65532, "rm /data/file-*") }

// tear writes into a file of a volume without a pause, for as long as the test runs. The mover needs seconds for the
// file at its 250m: a busy node lets the writer wait for more than half a second, in which a small file would be whole.
func (a *honestApp) tear(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	running, ended := make(chan struct{}), make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	pod := testbed.VolumePod{
		Namespace: a.namespace, Name: "writer", Claim: "torn", User: 65532, Shell: true,
		CPU: "250m", // it must write while the mover reads, also beside other scenarios
	}
	go func() {
		ended <- a.bed.WithVolumePod(ctx, pod, func(ctx contextT) error {
			if err := a.script(ctx, pod, "truncate --size 512M /data/file-0000"); err != nil {
				return err
			}
			close(running)
			// In place: the file keeps its length.
			err := a.script(ctx, pod, `i=0; while :; do i=$((i+1)); echo "$i" 1<>/data/file-0000; sleep 0.01; done`)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}()
	t.Cleanup(func() {
		stop()
		g.Expect(<-ended).To(Succeed())
	})
	g.Eventually(running, patience).Should(BeClosed())
}

// inShell runs a script as a user who has the volume at /data.
func (a *honestApp) inShell(t *testing.T, claim string, user int64, script string) {
	t.Helper()
	pod := testbed.VolumePod{Namespace: a.namespace, Name: "shell", Claim: claim, User: user, Shell: true}
	NewWithT(t).Expect(a.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) error {
		return a.script(ctx, pod, script)
	})).To(Succeed())
}

// script runs a script in a pod with a shell.
func (a *honestApp) script(ctx contextT, pod testbed.VolumePod, script string) error {
	_, err := a.bed.Exec(ctx, a.namespace, pod.Name, nil, "/bin/sh", "-euc", script)
	return err
}
