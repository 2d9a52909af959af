package complete

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

func TestVolumeSnapshotsNeedNoBackend(t *testing.T) {
	keep := &v1alpha1.ObjectReference{Name: "keep"}
	whole := v1alpha1.RepositoryInfo{
		Name: "s", Backend: "b", Directory: "/d", EncryptionSecret: new(ref("", "enc")),
		DeletionPolicy: v1alpha1.WipeOutRepository,
	}
	gone := new(ref("", "no-such-storage"))
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
				s.Backends, s.Sessions = tc.backends,
					[]v1alpha1.BackupConfigurationSession{policytest.OfSnapshots(tc.infos...)}
			})
			out := Complete(c, snapshots())
			g.Expect(out.Missing).To(BeEmpty())
			g.Expect(out.Configuration.Spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{tc.want}))
			g.Expect(out.Configuration.Spec.Backends).To(Equal(tc.wantBackends))
			g.Expect(out.Resolved).To(Equal(tc.wantResolved))
			g.Expect(out.Drivers).To(Equal(map[string]v1alpha1.Driver{tc.want.Name: v1alpha1.DriverVolumeSnapshotter}))
			c.Status.Resolved = out.Resolved
			g.Expect(SpecWithResolved(c).Sessions[0].Repositories[0].Name).To(Equal(tc.want.Name),
				"a lookup finds it by its name")
		})
	}
}

func TestSessionsOfBothDriversShareAConfigurationButNoRepository(t *testing.T) {
	both := func(name string) *v1alpha1.BackupConfiguration {
		return smallest(func(s *v1alpha1.BackupConfigurationSpec) {
			s.Sessions = append(s.Sessions, policytest.OfSnapshots(v1alpha1.RepositoryInfo{Name: name}))
		})
	}
	known := snapshots()
	known.DefaultStorage = surroundings().DefaultStorage

	t.Run("in two repositories", func(t *testing.T) {
		g := NewWithT(t)
		out := Complete(both("snapshots"), known)
		g.Expect(out.Missing).To(BeEmpty())
		g.Expect(out.Configuration.Spec.Sessions[0].Repositories[0].Backend).To(Equal("s3"))
		g.Expect(out.Configuration.Spec.Sessions[1].Repositories).
			To(Equal([]v1alpha1.RepositoryInfo{{Name: "snapshots"}}))
		g.Expect(out.Configuration.Spec.Backends).To(HaveLen(1))
	})
	t.Run("in one repository", func(t *testing.T) {
		g := NewWithT(t)
		out := Complete(both(""), known)
		g.Expect(out.Missing).To(Equal([]policy.Mistake{{
			Field: "spec.sessions[1].repositories[0]", Reason: v1alpha1.ReasonRepositoryConflict,
			Message: `the Repository "files" has driver Kopia, but the task of this session has ` +
				`driver VolumeSnapshotter: a Repository has only one driver. ` +
				`Give the repository of this session another name`,
		}}))
		g.Expect(out.Configuration.Spec.Sessions[1].Repositories).To(BeEmpty())
	})
}

func TestARepositoryThatExistsKeepsItsDriver(t *testing.T) {
	is := func(driver v1alpha1.Driver) Lookups {
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
		return smallest(func(spec *v1alpha1.BackupConfigurationSpec) {
			spec.Sessions = []v1alpha1.BackupConfigurationSession{s}
		})
	}
	conflict := HaveField("Missing", ConsistOf(HaveField("Reason", v1alpha1.ReasonRepositoryConflict)))
	g := NewWithT(t)
	g.Expect(Complete(session(policytest.OfSnapshots()), is(v1alpha1.DriverKopia))).To(conflict)
	g.Expect(Complete(smallest(), is(v1alpha1.DriverVolumeSnapshotter))).To(conflict)

	unknown := policytest.OfSnapshots()
	unknown.Addon.Name = "nobody-has-it"
	out := Complete(session(unknown), is(v1alpha1.DriverVolumeSnapshotter))
	g.Expect(out.Missing).To(BeEmpty(), "the Repository knows the driver although the Addon is gone")
	g.Expect(out.Configuration.Spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{{Name: "files"}}))

	known := is("")
	known.Repository = func(string) *v1alpha1.Repository { return nil }
	g.Expect(Complete(session(unknown), known).Drivers).To(BeEmpty(), "the driver of the new Repository is unknown")
}

// snapshots returns lookups with that Addon and nothing that a backup of files needs.
func snapshots() Lookups {
	known := surroundings()
	known.DefaultStorage = func() *v1alpha1.ObjectReference { return nil }
	known.Driver = func(info *v1alpha1.AddonInfo) v1alpha1.Driver {
		switch info.Name {
		case "own":
			return v1alpha1.DriverVolumeSnapshotter
		case catalog.VolumeAddon:
			return v1alpha1.DriverKopia
		}
		return ""
	}
	return known
}
