package policy

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// snapshotAddon has a task that makes VolumeSnapshots.
var snapshotAddon = v1alpha1.AddonInfo{Name: "own", Tasks: []v1alpha1.TaskReference{{Name: "volume-snapshot"}}}

// snapshots returns lookups with that Addon and nothing that a backup of files needs.
func snapshots() Known {
	known := surroundings()
	known.DefaultStorage = func() *v1alpha1.ObjectReference { return nil }
	known.Driver = func(info *v1alpha1.AddonInfo) v1alpha1.Driver {
		switch info.Name {
		case "own":
			return v1alpha1.DriverVolumeSnapshotter
		case VolumeAddon:
			return v1alpha1.DriverKopia
		}
		return ""
	}
	return known
}

func ofSnapshots(infos ...v1alpha1.RepositoryInfo) v1alpha1.BackupConfigurationSession {
	return v1alpha1.BackupConfigurationSession{SessionConfig: v1alpha1.SessionConfig{Name: "hourly"},
		Addon: snapshotAddon.DeepCopy(), Repositories: infos}
}

func TestVolumeSnapshotsNeedNoBackend(t *testing.T) {
	keep := &v1alpha1.ObjectReference{Name: "keep"}
	whole := v1alpha1.RepositoryInfo{Name: "s", Backend: "b", Directory: "/d", EncryptionSecret: ptr.To(ref("", "enc")),
		DeletionPolicy: v1alpha1.WipeOutRepository}
	gone := ptr.To(ref("", "no-such-storage"))
	for name, tc := range map[string]struct {
		backends     []v1alpha1.BackendReference
		infos        []v1alpha1.RepositoryInfo
		want         v1alpha1.RepositoryInfo
		wantBackends []v1alpha1.BackendReference
		wantResolved *v1alpha1.ResolvedConfiguration
	}{
		"nothing set": {
			want: v1alpha1.RepositoryInfo{Name: "files"},
			wantResolved: &v1alpha1.ResolvedConfiguration{Sessions: []v1alpha1.ResolvedConfigurationSession{{
				Name: "hourly", Repositories: []v1alpha1.ResolvedRepositoryInfo{{Name: "files"}},
			}}},
		},
		"a manifest of KubeStash": {
			backends: []v1alpha1.BackendReference{{Name: "b", StorageRef: gone}},
			infos:    []v1alpha1.RepositoryInfo{whole},
			want:     v1alpha1.RepositoryInfo{Name: "s", DeletionPolicy: v1alpha1.WipeOutRepository},
		},
		"a backend with a RetentionPolicy": {
			backends:     []v1alpha1.BackendReference{{Name: "b", StorageRef: gone, RetentionPolicy: keep}},
			infos:        []v1alpha1.RepositoryInfo{whole},
			want:         v1alpha1.RepositoryInfo{Name: "s", Backend: "b", DeletionPolicy: v1alpha1.WipeOutRepository},
			wantBackends: []v1alpha1.BackendReference{{Name: "b", RetentionPolicy: keep}},
		},
		"the only backend, which no session names": {
			backends:     []v1alpha1.BackendReference{{Name: "b", RetentionPolicy: keep}},
			infos:        []v1alpha1.RepositoryInfo{{Name: "s"}},
			want:         v1alpha1.RepositoryInfo{Name: "s", Backend: "b"},
			wantBackends: []v1alpha1.BackendReference{{Name: "b", RetentionPolicy: keep}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := smallest(func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends, s.Sessions = tc.backends, []v1alpha1.BackupConfigurationSession{ofSnapshots(tc.infos...)}
			})
			out := Complete(c, snapshots())
			g.Expect(out.Missing).To(BeEmpty())
			g.Expect(out.Configuration.Spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{tc.want}))
			g.Expect(out.Configuration.Spec.Backends).To(Equal(tc.wantBackends))
			g.Expect(out.Resolved).To(Equal(tc.wantResolved))
			g.Expect(out.Drivers).To(Equal(map[string]v1alpha1.Driver{tc.want.Name: v1alpha1.DriverVolumeSnapshotter}))
			c.Status.Resolved = out.Resolved
			g.Expect(AsResolved(c).Sessions[0].Repositories[0].Name).To(Equal(tc.want.Name),
				"a lookup finds it by its name")
		})
	}
}

func TestSessionsOfBothDriversShareAConfigurationButNoRepository(t *testing.T) {
	both := func(name string) *v1alpha1.BackupConfiguration {
		return smallest(func(s *v1alpha1.BackupConfigurationSpec) {
			s.Sessions = append(s.Sessions, ofSnapshots(v1alpha1.RepositoryInfo{Name: name}))
		})
	}
	known := snapshots()
	known.DefaultStorage = surroundings().DefaultStorage

	t.Run("in two repositories", func(t *testing.T) {
		g := NewWithT(t)
		out := Complete(both("snapshots"), known)
		g.Expect(out.Missing).To(BeEmpty())
		g.Expect(out.Configuration.Spec.Sessions[0].Repositories[0].Backend).To(Equal("s3"))
		g.Expect(out.Configuration.Spec.Sessions[1].Repositories).To(Equal([]v1alpha1.RepositoryInfo{{Name: "snapshots"}}))
		g.Expect(out.Configuration.Spec.Backends).To(HaveLen(1))
	})
	t.Run("in one repository", func(t *testing.T) {
		g := NewWithT(t)
		out := Complete(both(""), known)
		g.Expect(out.Missing).To(Equal([]Mistake{{
			Field: "spec.sessions[1].repositories[0]", Reason: v1alpha1.ReasonRepositoryConflict,
			Message: `the Repository "files" has driver Kopia, but the task of this session has driver VolumeSnapshotter: a Repository has only one driver. ` +
				`Give the repository of this session another name`,
		}}))
		g.Expect(out.Configuration.Spec.Sessions[1].Repositories).To(BeEmpty())
	})
}

func TestARepositoryThatExistsKeepsItsDriver(t *testing.T) {
	is := func(driver v1alpha1.Driver) Known {
		known := snapshots()
		known.DefaultStorage = surroundings().DefaultStorage
		known.Repository = func(string) *v1alpha1.Repository {
			r := existing(true)
			r.Spec.Driver = driver
			return r
		}
		return known
	}
	session := func(s v1alpha1.BackupConfigurationSession) *v1alpha1.BackupConfiguration {
		return smallest(func(spec *v1alpha1.BackupConfigurationSpec) { spec.Sessions = []v1alpha1.BackupConfigurationSession{s} })
	}
	conflict := HaveField("Missing", ConsistOf(HaveField("Reason", v1alpha1.ReasonRepositoryConflict)))
	g := NewWithT(t)
	g.Expect(Complete(session(ofSnapshots()), is(v1alpha1.DriverKopia))).To(conflict)
	g.Expect(Complete(smallest(), is(v1alpha1.DriverVolumeSnapshotter))).To(conflict)

	unknown := ofSnapshots()
	unknown.Addon.Name = "nobody-has-it"
	out := Complete(session(unknown), is(v1alpha1.DriverVolumeSnapshotter))
	g.Expect(out.Missing).To(BeEmpty(), "the Repository knows the driver although the Addon is gone")
	g.Expect(out.Configuration.Spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{{Name: "files"}}))

	known := is("")
	known.Repository = func(string) *v1alpha1.Repository { return nil }
	g.Expect(Complete(session(unknown), known).Drivers).To(BeEmpty(), "the driver of the new Repository is unknown")
}

const snapshotSet = `apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: own}
spec:
  backupTasks:
  - {name: volume-snapshot, function: pvc-backup, driver: VolumeSnapshotter, parameters: [{name: volumeSnapshotClassName}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: uploads, namespace: shop}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: keeps}
driver: hostpath.csi.example.com
deletionPolicy: Retain
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: deletes}
driver: hostpath.csi.example.com
deletionPolicy: Delete
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: snaps, namespace: shop}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends: [{name: main, storageRef: {name: no-such-storage}}]
  sessions:
  - name: hourly
    scheduler: {schedule: "0 * * * *"}
    addon: {name: own, tasks: [{name: volume-snapshot, params: {volumeSnapshotClassName: keeps}}]}
    repositories: [{name: snaps, backend: main, directory: /shop/uploads, encryptionSecret: {name: no-such-secret}}]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: all, namespace: shop}
spec:
  targets: [{name: uploads, appRef: {kind: PersistentVolumeClaim, name: uploads}}]
  sessions:
  - name: hourly
    repositories: [{name: batch}]
    targets: [{name: uploads, addon: {name: own, tasks: [{name: volume-snapshot}]}}]
`

func TestCheckObjectsOfVolumeSnapshots(t *testing.T) {
	const repository = "\n---\napiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: NAME, namespace: shop}\nspec: {driver: DRIVER, " +
		"appRef: {kind: PersistentVolumeClaim, name: uploads}MORE}\n"
	for name, tc := range map[string]struct {
		replace, by     string // In snapshotSet; an empty replace appends.
		severity        Severity
		field, reason   string
		message         string
		isRight, sample bool
	}{
		"missing backends do not matter": {isRight: true},
		"a Repository of VolumeSnapshots": {
			by: strings.NewReplacer("NAME", "snaps", "DRIVER", "VolumeSnapshotter", "MORE",
				"").Replace(repository),
			isRight: true,
		},
		"a class that deletes": {
			replace: "volumeSnapshotClassName: keeps", by: "volumeSnapshotClassName: deletes",
			severity: SeverityWarning,
			field:    "spec.sessions[0].addon.tasks[0].params.volumeSnapshotClassName",
			reason:   v1alpha1.ReasonVolumeSnapshotClassDeletes,
			message:  "VolumeSnapshotClass deletes has deletionPolicy Delete: whoever deletes a VolumeSnapshot or the namespace deletes the data",
		},
		"a missing class": {
			replace: "volumeSnapshotClassName: keeps", by: "volumeSnapshotClassName: none", severity: SeverityError,
			field:   "spec.sessions[0].addon.tasks[0].params.volumeSnapshotClassName",
			reason:  v1alpha1.ReasonVolumeSnapshotClassNotFound,
			message: "there is no VolumeSnapshotClass none",
		},
		"a sidecar": {
			replace:  "addon: {name: own, tasks: [{name: volume-snapshot, params",
			by:       "executor: Sidecar\n    addon: {name: own, tasks: [{name: volume-snapshot, params",
			severity: SeverityError,
			field:    "spec.sessions[0].executor", reason: v1alpha1.ReasonSidecarNotPossible,
			message: "makes VolumeSnapshots",
		},
		"copies": {
			replace:  "addon: {name: own, tasks: [{name: volume-snapshot, params",
			by:       "copyMethod: Clone\n    addon: {name: own, tasks: [{name: volume-snapshot, params",
			severity: SeverityError,
			field:    "spec.sessions[0].copyMethod", reason: v1alpha1.ReasonCopyNotPossible,
			message: "makes VolumeSnapshots",
		},
		"a Repository of another driver": {
			by: strings.NewReplacer("NAME", "batch-uploads", "DRIVER", "Kopia", "MORE",
				", storageRef: {name: s3}, path: /x, encryptionSecret: {name: e}").Replace(repository),
			severity: SeverityError, field: "spec.sessions[0].repositories[0]",
			reason:  v1alpha1.ReasonRepositoryConflict,
			message: "has driver Kopia", sample: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := snapshotSet + tc.by
			if tc.replace != "" {
				g.Expect(strings.Count(snapshotSet, tc.replace)).To(Equal(1))
				set = strings.Replace(snapshotSet, tc.replace, tc.by, 1)
			}
			findings := CheckObjects(objectsOf(t, strings.TrimSuffix(set, "\n")), "default", cluster(t))
			if tc.isRight {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(ContainElement(SatisfyAll(
				HaveField("Severity", tc.severity), HaveField("Field", tc.field), HaveField("Reason", tc.reason),
				HaveField("Message", ContainSubstring(tc.message)),
			)))
			if !tc.sample && name != "a sidecar" {
				g.Expect(findings).To(HaveLen(1))
			}
		})
	}
}

func TestASidecarMakesNoVolumeSnapshots(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{Name: "volume-snapshot",
		Function: "f", Driver: v1alpha1.DriverVolumeSnapshotter}}}}
	session := ofSnapshots()
	target := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	g.Expect(SidecarMistakes("spec", target, &session, addon, nil)).To(ConsistOf(HaveField("Message",
		ContainSubstring("makes VolumeSnapshots"))))
}

func TestTaskDriver(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{
		BackupTasks: []v1alpha1.Task{
			{Name: "volume-snapshot", Driver: v1alpha1.DriverVolumeSnapshotter}, {Name: "files"},
		},
		RestoreTasks: []v1alpha1.Task{{Name: "back", Driver: v1alpha1.DriverVolumeSnapshotter}},
	}}
	of := func(name string, restore bool) v1alpha1.Driver {
		return TaskDriver(addon,
			&v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{Name: name,
				Params: &apiextensionsv1.JSON{}}}}, restore)
	}
	g.Expect(of("VolumeSnapshot", false)).To(Equal(v1alpha1.DriverVolumeSnapshotter), "the older spelling of KubeStash")
	g.Expect(of("files", false)).To(Equal(v1alpha1.DriverKopia))
	g.Expect(of("none", false)).To(BeEmpty())
	g.Expect(of("back", true)).To(Equal(v1alpha1.DriverVolumeSnapshotter))
	g.Expect(TaskDriver(nil, nil, false)).To(BeEmpty())
}

func TestWhatBecomesOfTheSnapshotIsOneOfTwo(t *testing.T) {
	for value, want := range map[string]string{"Delete": "", "Retain": "", "Keep": "set it to Delete or Retain"} {
		t.Run(value, func(t *testing.T) {
			g := NewWithT(t)
			addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
				Name: "volume-snapshot", Driver: v1alpha1.DriverVolumeSnapshotter, Function: "f",
				Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: ParamContentDeletionPolicy}}},
			}}}}
			info := snapshotAddon.DeepCopy()
			info.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"contentDeletionPolicy": "` + value + `"}`)}
			mistakes := TaskMistakes("addon", addon, info, false)
			if want == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(ConsistOf(And(HaveField("Field", "addon.tasks[0].params.contentDeletionPolicy"),
				HaveField("Reason", v1alpha1.ReasonInvalidParameters), HaveField("Message", ContainSubstring(want)))))
		})
	}
}
