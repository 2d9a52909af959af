package mover_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestAStorageIsInitialisedOnceAndSharedByClusters(t *testing.T) {
	g := NewWithT(t)
	p := newPod(t)
	file := filepath.Join(p.root, "cairn/storage/backups/metadata.yaml")
	code, _ := p.run(t.Context(), storageTask())
	g.Expect(code).To(BeZero())
	first, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(first)).To(ContainSubstring("clusterUID: cluster-1"))

	other := storageTask()
	other.Cluster = "cluster-2"
	code, result := p.run(t.Context(), other)
	g.Expect(code).To(BeZero())
	g.Expect(result.Message).To(ContainSubstring("shared"))
	g.Expect(os.ReadFile(file)).To(Equal(first), "the first one's file stays")

	rival := storageTask()
	rival.Storage.Namespace, rival.Storage.UID, rival.Storage.Rivals = "other", "uid-other", []types.UID{"uid-storage"}
	code, result = p.run(t.Context(), rival)
	g.Expect(code).To(Equal(task.ExitStorage))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonStorageTaken))
	g.Expect(result.Message).To(HavePrefix("BackupStorage shop/disk already has this place"))
	rival.Storage.Rivals = []types.UID{"uid-that-reaches-another-server"}
	code, _ = p.run(t.Context(), rival)
	g.Expect(code).To(BeZero())

	p.write("cairn/storage/backups/metadata.yaml", "garbage: [")
	code, result = p.run(t.Context(), storageTask())
	g.Expect(code).To(Equal(task.ExitFailed))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonBackendInitializationFailed))
	g.Expect(os.ReadFile(file)).To(Equal([]byte("garbage: [")), "an unreadable file is not overwritten")

	g.Expect(os.RemoveAll(filepath.Join(p.root, "cairn/storage"))).To(Succeed())
	code, result = p.run(t.Context(), storageTask())
	g.Expect(code).To(Equal(task.ExitStorage))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonBucketNotFound))
}

// Most often somebody has changed the BackupStorage, and the data is where it was.
func TestALostRepositorySaysWhereItWasLookedFor(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	again := repositoryTask()
	again.Repository.MustExist = true
	again.Storage.Spec.Local.SubPath = "backup"
	p.write("cairn/storage/backup/other", "")
	_, result := p.run(t.Context(), again)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound))
	g.Expect(result.Message).To(And(HavePrefix("directory shop/web no longer holds its repository, and the storage "+
		"(subPath backup) no metadata.yaml. If BackupStorage shop/disk was changed, change it back; else it is not "+
		"mounted"), ContainSubstring("another prefix"), Not(ContainSubstring("another directory"))))
	p.write("cairn/storage/backup/metadata.yaml", "x")
	_, result = p.run(t.Context(), again)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound))
	g.Expect(result.Message).To(HavePrefix("directory shop/web no longer holds its repository (subPath backup). If " +
		"BackupStorage shop/disk was changed, change it back; else pause what backs up there"))
}

func TestARepositoryIsFoundBeforeItIsCreated(t *testing.T) {
	directory := "cairn/storage/backups/shop/web/"
	for name, tc := range map[string]struct {
		change func(*pod, *task.Task)
		reason string
		code   int
	}{
		"by the same Repository": {reason: v1alpha1.ReasonSucceeded},
		"by a Repository object that was made again": {
			change: func(_ *pod, t *task.Task) { t.Repository.UID = "again" },
			reason: v1alpha1.ReasonSucceeded,
		},
		"by another Repository of the cluster": {
			change: func(_ *pod, t *task.Task) { t.Repository.UID, t.Repository.Name = "other", "other" },
			reason: v1alpha1.ReasonDirectoryTaken, code: task.ExitRepository,
		},
		"by the same name in another cluster": {
			change: func(_ *pod, t *task.Task) { t.Cluster = "cluster-2" },
			reason: v1alpha1.ReasonDirectoryTaken, code: task.ExitRepository,
		},
		"by another cluster that takes it over": {
			change: func(p *pod, t *task.Task) {
				t.Cluster, t.Repository.Adopt = "cluster-2", p.consent("shop/web")
			}, reason: v1alpha1.ReasonSucceeded,
		},
		"by another cluster that names no owner": {
			change: func(_ *pod, t *task.Task) { t.Cluster, t.Repository.Adopt = "cluster-2", "shop/web" },
			reason: v1alpha1.ReasonDirectoryTaken, code: task.ExitRepository,
		},
		"by another cluster that takes another directory over": {
			change: func(p *pod, t *task.Task) { t.Cluster, t.Repository.Adopt = "cluster-2", p.consent("shop") },
			reason: v1alpha1.ReasonDirectoryTaken, code: task.ExitRepository,
		},
		"with another password in the same Secret": {
			change: func(p *pod, _ *task.Task) { p.write("cairn/encryption/password", "wrong") },
			reason: v1alpha1.ReasonPasswordChanged, code: task.ExitRepository,
		},
		"with another password in another Secret": {
			change: func(p *pod, t *task.Task) {
				p.write("cairn/encryption/password", "wrong")
				t.Repository.KeyID = "shop/other"
			},
			reason: v1alpha1.ReasonWrongPassword, code: task.ExitRepository,
		},
		"with another password by another cluster that takes it over": {
			change: func(p *pod, t *task.Task) {
				p.write("cairn/encryption/password", "wrong")
				t.Cluster, t.Repository.Adopt = "cluster-2", p.consent("shop/web")
			},
			reason: v1alpha1.ReasonWrongPassword, code: task.ExitRepository,
		},
		"without a password": {
			change: func(p *pod, _ *task.Task) { p.write("cairn/encryption/password", "\n") },
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable, code: task.ExitCredentials,
		},
		"with the password under restic's key": {
			change: func(p *pod, _ *task.Task) {
				p.write("cairn/encryption/password", "")
				p.write("cairn/encryption/RESTIC_PASSWORD", "correct horse")
			}, reason: v1alpha1.ReasonSucceeded,
		},
		"after its format blob was lost": {
			change: func(p *pod, _ *task.Task) { p.remove(directory + "kopia/kopia.repository.f") },
			reason: v1alpha1.ReasonRepositoryDamaged, code: task.ExitRepository,
		},
		"after a crash before repository.yaml was written": {
			change: func(p *pod, _ *task.Task) { p.remove(directory + "repository.yaml") },
			reason: v1alpha1.ReasonSucceeded,
		},
		"after everything was lost": {
			change: func(p *pod, t *task.Task) {
				p.remove("cairn/storage/backups/shop")
				t.Repository.MustExist = true
			},
			reason: v1alpha1.ReasonRepositoryNotFound, code: task.ExitRepository,
		},
		"with a repository.yaml that can't be read": {
			change: func(p *pod, _ *task.Task) { p.write(directory+"repository.yaml", "kind: Other\n") },
			reason: v1alpha1.ReasonRepositoryDamaged, code: task.ExitRepository,
		},
		"in a directory with a reserved name": {
			change: func(_ *pod, t *task.Task) {
				t.Repository.Directory = "shop/kopia"
			}, reason: v1alpha1.ReasonInvalidPath, code: task.ExitFailed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			again := repositoryTask()
			if tc.change != nil {
				tc.change(p, &again)
			}
			code, result := p.run(t.Context(), again)
			g.Expect(result.Reason).To(Equal(tc.reason), result.Message)
			g.Expect(code).To(Equal(tc.code))
			g.Expect(result.Message + p.log.String()).NotTo(ContainSubstring("correct horse"))
			if tc.code == 0 {
				meta, err := os.ReadFile(filepath.Join(p.root, directory, "repository.yaml"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(meta)).
					To(And(ContainSubstring("clusterUID: "+again.Cluster),
						ContainSubstring("repositoryUID: "+string(again.Repository.UID)),
						ContainSubstring("keyID: shop/enc")))
			}
		})
	}
}

func TestABackupIsRestoredAsItWas(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/a/secret file.txt", "hello")
	p.write("cairn/volumes/pvc/skip.tmp", "temporary")
	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/pvc/empty"), 0o700)).To(Succeed())

	code, result := p.run(t.Context(), backupTask("snap-1"), "*.tmp")
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(result.Components).To(HaveLen(1))
	id := result.Components[0].ID
	g.Expect(id).NotTo(BeEmpty())
	told := p.reports.snapshots["pvc"]
	g.Expect(told[0].Phase).To(Equal(v1alpha1.SnapshotRunning))
	last := told[len(told)-1]
	g.Expect(last.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(json.Marshal(last)).To(MatchJSON(must(json.Marshal(result.Components[0].Component(v1alpha1.DriverKopia)))),
		"status and termination message say the same")
	g.Expect(last.Files).To(Equal(int64(1)))
	g.Expect(last.SizeBytes).To(Equal(int64(5)))
	record, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/snap-1/pvc.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(record)).To(And(ContainSubstring("id: "+id), ContainSubstring("phase: Succeeded")))

	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new/lost+found"), 0o755)).To(Succeed())
	restore := restoreTask(id)
	restore.Components[0].Path = "/data/here"
	code, result = p.run(t.Context(), restore)
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/data/here/a/secret file.txt"))).
		To(Equal([]byte("hello")))
	g.Expect(filepath.Join(p.root, "cairn/volumes/new/data/here/skip.tmp")).NotTo(BeAnExistingFile())
	info, err := os.Stat(filepath.Join(p.root, "cairn/volumes/new/data/here/empty"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o700)))
	restored := p.reports.restores["new"]
	g.Expect(restored[len(restored)-1].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	g.Expect(restored[len(restored)-1].Files).To(Equal(int64(1)))

	code, result = p.run(t.Context(), restoreTask(id))
	g.Expect(code).To(Equal(task.ExitTarget))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty))
	g.Expect(p.log.String()).NotTo(ContainSubstring("secret file"))
}

func TestAMoverKilledBeforeItReportedIsNotRepeated(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	_, first := p.run(t.Context(), backupTask("snap-1"))
	p.write("cairn/volumes/pvc/f", "changed")
	p.reports.snapshots = map[string][]v1alpha1.Component{}
	code, second := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero())
	g.Expect(second.Components[0].ID).To(Equal(first.Components[0].ID))
	g.Expect(p.reports.snapshots["pvc"]).To(HaveLen(1), "it reports, and nothing runs")
	g.Expect(p.reports.snapshots["pvc"][0].Phase).To(Equal(v1alpha1.SnapshotSucceeded))
}

func TestOneFailingComponentDoesNotStopTheOthers(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/one/lost+found"), 0o755)).To(Succeed())
	p.write("cairn/volumes/two/f", "1")
	p.write("cairn/volumes/three/skip.tmp", "1")
	p.write("cairn/volumes/four/f", "1")
	g.Expect(os.Symlink(filepath.Join(p.root, "cairn/encryption"), filepath.Join(p.root, "cairn/volumes/four/out"))).
		To(Succeed())
	code, result := p.run(t.Context(), backupTask("snap-1",
		task.Component{Name: "one"}, task.Component{Name: "two"}, task.Component{Name: "three"},
		task.Component{Name: "four", Path: "out"}, task.Component{Name: "four", Path: "absent"},
		task.Component{Name: "none"}), "*.tmp")
	g.Expect(code).To(Equal(task.ExitSource))
	var reasons []string
	for _, c := range result.Components {
		reasons = append(reasons, c.Reason)
	}
	g.Expect(reasons).
		To(
			Equal([]string{
				v1alpha1.ReasonEmpty, "", v1alpha1.ReasonEmpty, v1alpha1.ReasonInvalidPath,
				v1alpha1.ReasonPathNotFound, v1alpha1.ReasonUnreadable,
			}))
	g.Expect(result.Message).To(HavePrefix("5 of 6 components were not backed up"))
	for name, all := range p.reports.snapshots {
		g.Expect(all[len(all)-1].Phase == v1alpha1.SnapshotSucceeded).To(Equal(name == "two"), name)
	}

	// The next mover must not take an empty snapshot for a backup.
	code, result = p.run(t.Context(), backupTask("snap-1", task.Component{Name: "three"}), "*.tmp")
	g.Expect(code).To(Equal(task.ExitSource))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonEmpty))
}

func TestAnAPIServerThatIsAwayFailsNoBackup(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.reports.fail = true
	p.write("cairn/volumes/pvc/f", "1")
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero())
	g.Expect(result.Components[0].ID).NotTo(BeEmpty())
}

func TestAMoverThatIsToldToStopSaysSo(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	for i := range 200 {
		p.write(fmt.Sprintf("cairn/volumes/pvc/%d", i), strings.Repeat("x", 1000))
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.reports.told = cancel // the first report is that it runs
	code, result := p.run(ctx, backupTask("snap-1", task.Component{Name: "pvc"}, task.Component{Name: "never"}))
	g.Expect(code).To(Equal(task.ExitCancelled))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonCancelled))
	for name, all := range p.reports.snapshots {
		g.Expect(all[len(all)-1].Phase.Terminal()).To(BeFalse(), "%s is left for another mover", name)
	}

	p.reports.told = nil
	code, _ = p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero(), "nothing half-done was left")
}

func TestABackupNeverCreatesARepository(t *testing.T) {
	g := NewWithT(t)
	p := newPod(t)
	p.write("cairn/volumes/pvc/f", "1")
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(Equal(task.ExitRepository))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound))
	entries, err := os.ReadDir(filepath.Join(p.root, "cairn/storage"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(BeEmpty())
}

func TestATaskThatCantBeReadIsAnInvalidTask(t *testing.T) {
	g := NewWithT(t)
	p := newPod(t)
	g.Expect(p.mover.Run(t.Context(), task.KindBackup, mover.Flags{})).To(Equal(task.ExitInvalidTask))
	p.write("cairn/task/task.json", "{")
	g.Expect(p.mover.Run(t.Context(), task.KindBackup, mover.Flags{})).To(Equal(task.ExitInvalidTask))
	wrong := backupTask("snap-1")
	wrong.Repository.Driver = "Restic"
	code, result := p.run(t.Context(), wrong)
	g.Expect(code).To(Equal(task.ExitInvalidTask))
	g.Expect(result.Message).To(ContainSubstring("Restic"))
}

func TestAnS3StorageNeedsItsKeys(t *testing.T) {
	g := NewWithT(t)
	p := newPod(t)
	in := storageTask()
	in.Storage.Spec = v1alpha1.Storage{
		Provider: v1alpha1.ProviderS3,
		S3:       &v1alpha1.S3Storage{Endpoint: "http://127.0.0.1:1", Bucket: "b-b", SecretName: "key"},
	}
	code, result := p.run(t.Context(), in)
	g.Expect(code).To(Equal(task.ExitCredentials))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonBackendSecretNotAvailable))

	p.write("cairn/credentials/"+v1alpha1.S3AccessKeyID, "AKIAEXAMPLE\n")
	p.write("cairn/credentials/"+v1alpha1.S3SecretAccessKey, "very-secret-value")
	code, result = p.run(t.Context(), in)
	g.Expect(code).To(Equal(task.ExitStorage))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonUnreachable))
	g.Expect(result.Message + p.log.String()).NotTo(ContainSubstring("very-secret-value"))
}

// rerun marks the process in which a test runs again without an API server: as another user, or to be killed.
const rerun = "CAIRN_TEST_RERUN"

func TestWhatAUserMayNotDoIsSaid(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/open", "1")
	p.write("cairn/volumes/pvc/private-name", "1")
	g.Expect(os.Chmod(filepath.Join(p.root, "cairn/volumes/pvc/private-name"), 0)).To(Succeed())
	code, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(Equal(task.ExitSource))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonUnreadable))
	g.Expect(result.Components[0].Unreadable).To(Equal(int64(1)))
	g.Expect(result.Components[0].ID).To(BeEmpty())
	message, err := os.ReadFile(p.mover.TerminationPath)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(message) + p.log.String() + fmt.Sprint(p.reports.snapshots)).NotTo(ContainSubstring("private-name"))

	g.Expect(os.Chmod(filepath.Join(p.root, "cairn/volumes/pvc/private-name"), 0o600)).To(Succeed())
	code, result = p.run(t.Context(), backupTask("snap-1"))
	g.Expect(code).To(BeZero(), result.Message)
	id := result.Components[0].ID

	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o555)).To(Succeed())
	code, result = p.run(t.Context(), restoreTask(id))
	g.Expect(code).To(Equal(task.ExitTarget))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonTargetUnwritable))
	g.Expect(result.Message).NotTo(ContainSubstring("private-name"))
}

// asNobody runs the test again as user 65534.
func asNobody(t *testing.T) {
	t.Helper()
	nobodyIn(t, nobodysHome(t))
}

// nobodysHome makes a directory that every user can write to.
func nobodysHome(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "cairn-nobody-")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g.Expect(os.Chmod(dir, 0o777)).To(Succeed())
	return dir
}

// nobodyIn runs the test again as user 65534, who has a home and is in groups.
func nobodyIn(t *testing.T, home string, groups ...uint32) {
	t.Helper()
	g := NewWithT(t)
	binary := filepath.Join(home, "test")
	self, err := os.ReadFile("/proc/self/exe")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(binary, self, 0o755)).To(Succeed())
	g.Expect(os.Chmod(binary, 0o755)).To(Succeed(), "whatever the umask")
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = home
	cmd.Env = []string{rerun + "=1", "HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: groups}}
	out, err := cmd.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(string(out)).To(ContainSubstring("--- PASS: " + t.Name()))
}
