package complete

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

func TestTheSmallestPolicyIsCompleted(t *testing.T) {
	g := NewWithT(t)
	before := smallest()
	completion := Complete(before, surroundings())
	g.Expect(before).To(Equal(smallest()), "the spec stays as it was")
	g.Expect(completion.Missing).To(BeEmpty())
	g.Expect(completion.Changed).To(BeEmpty())
	spec := completion.Configuration.Spec
	g.Expect(spec.Backends).To(Equal([]v1alpha1.BackendReference{{
		Name:       "s3",
		StorageRef: new(ref("backup", "s3")),
	}}))
	g.Expect(spec.Sessions[0].Addon).To(Equal(&v1alpha1.AddonInfo{
		Name:  "pvc-addon",
		Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
	}))
	g.Expect(spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{{
		Name: "files", Backend: "s3", Directory: "/eu1/shop/persistentvolumeclaim/uploads",
		EncryptionSecret: new(ref("backup", "enc")),
	}}))
	g.Expect(completion.Resolved).To(Equal(&v1alpha1.ResolvedConfiguration{
		Backends: []v1alpha1.ResolvedBackend{{Name: "s3", StorageRef: ref("backup", "s3")}},
		Sessions: []v1alpha1.ResolvedConfigurationSession{{
			Name: "nightly", Addon: "pvc-addon", Task: "logical-backup",
			Repositories: []v1alpha1.ResolvedRepositoryInfo{{
				Name: "files", Backend: "s3", Directory: "/eu1/shop/persistentvolumeclaim/uploads",
				EncryptionSecret: ref("backup", "enc"),
			}},
		}},
	}))
	before.Status.Resolved = completion.Resolved
	g.Expect(SpecWithResolved(before)).To(Equal(spec), "a lookup by the status finds the same")
}

func TestWhatIsSaidIsNotInferred(t *testing.T) {
	whole := v1alpha1.RepositoryInfo{
		Name: "r", Backend: "b", Directory: "/d",
		EncryptionSecret: new(ref("", "mine")),
	}
	backends := []v1alpha1.BackendReference{{Name: "b", StorageRef: new(ref("", "plain"))}}
	say := func(info v1alpha1.RepositoryInfo) func(*v1alpha1.BackupConfigurationSpec) {
		return func(s *v1alpha1.BackupConfigurationSpec) {
			s.Backends, s.Sessions[0].Repositories = backends, []v1alpha1.RepositoryInfo{info}
			s.Sessions[0].Addon = &v1alpha1.AddonInfo{Name: "own", Tasks: []v1alpha1.TaskReference{{Name: "own"}}}
		}
	}
	without := func(change func(*v1alpha1.RepositoryInfo)) func(*v1alpha1.BackupConfigurationSpec) {
		info := whole
		change(&info)
		return say(info)
	}
	mine := new(ref("shop", "mine"))
	for name, tc := range map[string]struct {
		change   func(*v1alpha1.BackupConfigurationSpec)
		want     v1alpha1.RepositoryInfo
		resolved bool
	}{
		"everything set": {say(whole), whole, false},
		"a name left out": {
			without(func(i *v1alpha1.RepositoryInfo) { i.Name = "" }), v1alpha1.RepositoryInfo{
				Name:    "files",
				Backend: "b", Directory: "/d", EncryptionSecret: mine,
			}, true,
		},
		"a backend left out": {
			without(func(i *v1alpha1.RepositoryInfo) { i.Backend = "" }),
			v1alpha1.RepositoryInfo{Name: "r", Backend: "b", Directory: "/d", EncryptionSecret: mine},
			true,
		},
		"a directory left out": {
			without(func(i *v1alpha1.RepositoryInfo) { i.Directory = "" }),
			v1alpha1.RepositoryInfo{
				Name: "r", Backend: "b", Directory: "/eu1/shop/persistentvolumeclaim/uploads",
				EncryptionSecret: mine,
			},
			true,
		},
		"set in another session": {func(s *v1alpha1.BackupConfigurationSpec) {
			say(v1alpha1.RepositoryInfo{Name: "r"})(s)
			other := s.Sessions[0]
			other.Name, other.Repositories = "weekly", []v1alpha1.RepositoryInfo{whole}
			s.Sessions = append(s.Sessions, other)
		}, v1alpha1.RepositoryInfo{Name: "r", Backend: "b", Directory: "/d", EncryptionSecret: mine}, true},
		"a storage left out": {func(s *v1alpha1.BackupConfigurationSpec) {
			say(whole)(s)
			s.Backends = []v1alpha1.BackendReference{{Name: "b"}}
		}, v1alpha1.RepositoryInfo{Name: "r", Backend: "b", Directory: "/d", EncryptionSecret: mine}, true},
		"the backend without a name": {func(s *v1alpha1.BackupConfigurationSpec) {
			say(v1alpha1.RepositoryInfo{Name: "r"})(s)
			s.Backends = []v1alpha1.BackendReference{
				{Name: "b", StorageRef: new(ref("", "plain"))},
				{StorageRef: new(ref("backup", "s3"))},
			}
		}, v1alpha1.RepositoryInfo{
			Name: "r", Directory: "/eu1/shop/persistentvolumeclaim/uploads",
			EncryptionSecret: new(ref("backup", "enc")),
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			completion := Complete(smallest(tc.change), surroundings())
			g.Expect(completion.Missing).To(BeEmpty())
			g.Expect(completion.Configuration.Spec.Sessions[0].Repositories).
				To(Equal([]v1alpha1.RepositoryInfo{tc.want}))
			g.Expect(completion.Resolved != nil).To(Equal(tc.resolved))
		})
	}
}

func TestAnInferenceDoesNotMoveARepositoryThatExists(t *testing.T) {
	for name, tc := range map[string]struct {
		repository *v1alpha1.Repository
		changed    []string
	}{
		"a Repository that Cairn created": {existing(true), []string{
			"Repository files stays in BackupStorage old/s3: the default is now backup/s3",
			"Repository files stays in the directory /a: a new Repository would be in " +
				"/eu1/shop/persistentvolumeclaim/uploads",
		}},
		"a Repository that a user created": {existing(false), nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			known := surroundings()
			known.Repository = func(string) *v1alpha1.Repository { return tc.repository }
			completion := Complete(smallest(), known)
			g.Expect(completion.Missing).To(BeEmpty())
			g.Expect(completion.Changed).To(Equal(tc.changed))
			g.Expect(completion.Configuration.Spec.Backends).To(Equal([]v1alpha1.BackendReference{{
				Name:       "s3",
				StorageRef: new(ref("old", "s3")),
			}}))
			g.Expect(completion.Configuration.Spec.Sessions[0].Repositories).To(Equal([]v1alpha1.RepositoryInfo{{
				Name: "files", Backend: "s3", Directory: "/a", EncryptionSecret: new(ref("old", "key")),
			}}))
			known.DefaultStorage = func() *v1alpha1.ObjectReference { return nil }
			g.Expect(Complete(smallest(), known).Missing).To(BeEmpty(),
				"removing the default storage does not move it either")
		})
	}
	g := NewWithT(t)
	known := surroundings()
	known.Repository = func(string) *v1alpha1.Repository { return existing(true) }
	said := smallest(func(s *v1alpha1.BackupConfigurationSpec) {
		s.Backends = []v1alpha1.BackendReference{{Name: "b", StorageRef: new(ref("shop", "plain"))}}
	})
	g.Expect(Complete(said, known).Configuration.Spec.Backends).To(Equal(said.Spec.Backends),
		"a setting of the policy counts, and is then a conflict")
}

func TestWhatCanNotBeInferredIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		change        func(*v1alpha1.BackupConfigurationSpec)
		known         func(*Lookups)
		field, reason string
		message       string
	}{
		"no default storage": {
			known: func(k *Lookups) { k.DefaultStorage = func() *v1alpha1.ObjectReference { return nil } },
			field: "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonStorageNotFound,
			message: "policy names no BackupStorage, and there is no default BackupStorage that the namespace shop " +
				"can use: name one in spec.backends, or set spec.default: true on one",
		},
		"no default storage for a backend without one": {
			change: func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends = []v1alpha1.BackendReference{{Name: "b"}}
				s.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{
					Name: "r", Backend: "b", Directory: "/d",
					EncryptionSecret: new(ref("", "mine")),
				}}
			},
			known: func(k *Lookups) { k.DefaultStorage = func() *v1alpha1.ObjectReference { return nil } },
			field: "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonStorageNotFound,
			message: "policy names no BackupStorage, and there is no default BackupStorage that the namespace shop " +
				"can use: name one in spec.backends, or set spec.default: true on one",
		},
		"no encryption Secret": {
			change: func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends = []v1alpha1.BackendReference{{Name: "b", StorageRef: new(ref("", "plain"))}}
			},
			field:  "spec.sessions[0].repositories[0].encryptionSecret",
			reason: v1alpha1.ReasonEncryptionSecretNotAvailable,
			message: "policy names no encryption Secret for the repository files, and BackupStorage shop/plain has " +
				"no default: name a Secret here, or in the storage's spec.encryptionSecret",
		},
		"a missing storage": {
			change: func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends = []v1alpha1.BackendReference{{Name: "b", StorageRef: new(ref("", "gone"))}}
			},
			field: "spec.sessions[0].repositories[0].encryptionSecret", reason: v1alpha1.ReasonStorageNotFound,
			message: "BackupStorage shop/gone, whose encryptionSecret is the default, does not exist",
		},
		"two backends": {
			change: func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends = []v1alpha1.BackendReference{
					{Name: "a", StorageRef: new(ref("", "plain"))},
					{Name: "b", StorageRef: new(ref("", "plain"))},
				}
			},
			field: "spec.sessions[0].repositories[0].backend", reason: v1alpha1.ReasonBackendNotFound,
			message: "spec.backends has 2 backends: name one of them",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			known, configuration := surroundings(), smallest()
			if tc.change != nil {
				tc.change(&configuration.Spec)
			}
			if tc.known != nil {
				tc.known(&known)
			}
			completion := Complete(configuration, known)
			g.Expect(completion.Missing).
				To(Equal([]policy.Mistake{{Field: tc.field, Reason: tc.reason, Message: tc.message}}))
			g.Expect(completion.Configuration.Spec.Sessions[0].Repositories).To(BeEmpty())
		})
	}
}

func TestTheDefaultOfANamespace(t *testing.T) {
	storage := func(namespace, name string, minute int, from v1alpha1.NamespacesFrom) v1alpha1.BackupStorage {
		s := v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Date(2026, 11, 20, 8, minute, 0, 0,
				time.UTC)),
		}}
		s.Spec.Default, s.Spec.Storage.Provider = true, v1alpha1.ProviderS3
		s.Spec.UsagePolicy = &v1alpha1.StorageUsagePolicy{UsagePolicy: v1alpha1.UsagePolicy{
			AllowedNamespaces: v1alpha1.AllowedNamespaces{
				From: &from, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"backup": "yes"}},
			},
		}}
		return s
	}
	own, younger := storage("shop", "own", 9, v1alpha1.NamespacesFromSame), storage("shop", "a-younger", 10,
		v1alpha1.NamespacesFromAll)
	selected, all := storage("backup", "selected", 5, v1alpha1.NamespacesFromSelector), storage("backup", "all", 1,
		v1alpha1.NamespacesFromAll)
	tenants, tenantsAll := storage("evil", "selected", 0, v1alpha1.NamespacesFromSelector), storage("evil", "all", 0,
		v1alpha1.NamespacesFromAll)
	late, private := storage("ops", "all", 6, v1alpha1.NamespacesFromAll), storage("other", "same", 0,
		v1alpha1.NamespacesFromSame)
	volume, plain := storage("other", "volume", 0, v1alpha1.NamespacesFromAll), storage("backup", "plain", 0,
		v1alpha1.NamespacesFromAll)
	volume.Spec.Storage.Provider, plain.Spec.Default = v1alpha1.ProviderLocal, false
	administrators := policy.Administrators{"backup", "ops", "other"}
	for name, tc := range map[string]struct {
		storages []v1alpha1.BackupStorage
		labels   map[string]string
		want     string
	}{
		"none": {},
		"the older one of its own": {
			[]v1alpha1.BackupStorage{all, younger, own, selected}, map[string]string{"backup": "yes"}, "shop/own",
		},
		"a default by selector before a default for all": {
			[]v1alpha1.BackupStorage{late, all, selected}, map[string]string{"backup": "yes"}, "backup/selected",
		},
		"the older of two for all": {
			[]v1alpha1.BackupStorage{late, selected, all}, nil, "backup/all",
		},
		"not a tenant's, by selector and older": {
			[]v1alpha1.BackupStorage{tenants, tenantsAll, all}, map[string]string{"backup": "yes"}, "backup/all",
		},
		"not a tenant's, where there is no other": {
			[]v1alpha1.BackupStorage{tenants, tenantsAll}, map[string]string{"backup": "yes"}, "",
		},
		"not the private default of another namespace": {[]v1alpha1.BackupStorage{private}, nil, ""},
		"not a volume of another namespace":            {[]v1alpha1.BackupStorage{volume}, nil, ""},
		"not a storage that is not marked":             {[]v1alpha1.BackupStorage{plain}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if chosen := ChooseDefault(DefaultStorages(tc.storages), administrators, "shop", tc.labels); chosen != nil {
				got = chosen.Namespace + "/" + chosen.Name
			}
			NewWithT(t).Expect(got).To(Equal(tc.want))
		})
	}
	g := NewWithT(t)
	candidates := DefaultStorages([]v1alpha1.BackupStorage{all, own, younger})
	g.Expect(ElderDefault(candidates, &younger).GetName()).To(Equal("own"))
	g.Expect(ElderDefault(candidates, &own)).To(BeNil())
	g.Expect(ElderDefault(candidates, &all)).To(BeNil())
	g.Expect(ChooseDefault(DefaultStorages([]v1alpha1.BackupStorage{tenants, all}), administrators, "evil", nil)).
		To(Equal(new(ref("evil", "selected"))), "a tenant's default counts in its own namespace")
}

func TestAnInferredDirectoryLiesWhereTheStorageWantsIt(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"":                       "/eu1/shop/persistentvolumeclaim/uploads",
		"/{cluster}":             "/eu1/shop/persistentvolumeclaim/uploads",
		"/{cluster}/{namespace}": "/eu1/shop/persistentvolumeclaim/uploads",
		"/{namespace}":           "/shop/eu1/shop/persistentvolumeclaim/uploads",
		"/tenants/{namespace}":   "/tenants/shop/eu1/shop/persistentvolumeclaim/uploads",
	} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			known := surroundings()
			storage := known.Storage(ref("backup", "s3"))
			storage.Namespace = "backup"
			storage.Spec.UsagePolicy = &v1alpha1.StorageUsagePolicy{DirectoryPrefix: prefix}
			known.Storage = func(v1alpha1.ObjectReference) *v1alpha1.BackupStorage { return storage }
			fresh := Complete(smallest(), known)
			g.Expect(fresh.Configuration.Spec.Sessions[0].Repositories[0].Directory).To(Equal(want))
			g.Expect(policy.DirectoryRefusal(storage, "eu1", "shop", want)).To(BeEmpty())

			known.Repository = func(string) *v1alpha1.Repository { return existing(true) }
			stays := Complete(smallest(), known)
			g.Expect(stays.Configuration.Spec.Sessions[0].Repositories[0].Directory).To(Equal("/a"),
				"a Repository that exists stays")
			g.Expect(stays.Changed).To(ContainElement(
				"Repository files stays in the directory /a: a new Repository would be in " + want))
		})
	}
}
