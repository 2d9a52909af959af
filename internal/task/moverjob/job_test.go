package moverjob_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

var update = flag.Bool("update", false, "write the golden files")

func s3Storage() *v1alpha1.BackupStorage {
	return &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Name: "s3", Namespace: "backup", UID: "uid-storage"},
		Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			Provider: v1alpha1.ProviderS3,
			S3: &v1alpha1.S3Storage{
				Endpoint: "https://s3.example.com", Bucket: "backups", Prefix: "prod", SecretName: "s3-key",
			},
		}},
	}
}

func localStorage() *v1alpha1.BackupStorage {
	return &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Name: "disk", Namespace: "shop", UID: "uid-disk"},
		Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal,
			Local: &v1alpha1.LocalStorage{
				PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "backups"}, SubPath: "cairn",
			},
		}},
	}
}

func hostStorage() *v1alpha1.BackupStorage {
	s := localStorage()
	s.Spec.Storage.Local = &v1alpha1.LocalStorage{HostPath: &v1alpha1.HostPathVolumeSource{Path: "/srv/backups"}}
	return s
}

func backupInput() moverjob.BackupJobInput {
	appRef := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Namespace: "shop", Name: "mariadb"}
	return moverjob.BackupJobInput{
		Session: &v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Name: "shop-hourly-1795154820", Namespace: "shop", UID: "uid-session"},
			Spec: v1alpha1.BackupSessionSpec{
				Invoker: v1alpha1.TypedLocalObjectReference{
					APIGroup: v1alpha1.Group, Kind: "BackupBatch", Name: "shop",
				},
				Session: "hourly",
			},
		},
		Snapshot: &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{
				Name: "shop-db-shop-hourly-1795154820", Namespace: "shop", UID: "uid-snapshot",
			},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "01JD", Repository: "shop-db", Session: "hourly", BackupSession: "shop-hourly-1795154820",
				Version: v1alpha1.SnapshotLayoutVersion, AppRef: appRef,
			},
		},
		Target: v1alpha1.ResolvedTarget{
			Name: "db", AppRef: appRef, Configuration: "shop-db",
			Task: v1alpha1.ResolvedTask{
				Addon: "workload-addon", Task: "logical-backup", Function: "workload-backup",
				Driver: v1alpha1.DriverKopia,
				Image:  "example.com/mover:v1", Args: []string{"backup", "--exclude=*.tmp"},
			},
		},
		Host: v1alpha1.ResolvedHost{
			Name: "pod-0", Node: "node-a",
			SecurityContext: v1alpha1.MoverSecurityContext{
				RunAsUser: new(int64(999)), SupplementalGroups: []int64{999},
			},
			Volumes: []v1alpha1.ResolvedVolume{
				{Component: "pod-0-data", ClaimName: "data-mariadb-0", Path: "db"},
				{Component: "pod-0-logs", ClaimName: "logs-mariadb-0"},
			},
		},
		Repository: v1alpha1.ResolvedRepository{
			Name: "shop-db", UID: "uid-repository", Directory: "/shop/db/",
			StorageRef:       v1alpha1.ObjectReference{Namespace: "backup", Name: "s3"},
			EncryptionSecret: v1alpha1.ObjectReference{Namespace: "shop", Name: "enc"},
		},
		Storage:     s3Storage(),
		Credentials: moverjob.Credentials{StorageSecret: "copied-key", EncryptionSecret: "enc"},
		Timeout:     30 * time.Minute,
		ClusterUID:  "uid-cluster",
	}
}

func restoreInput() moverjob.RestoreJobInput {
	return moverjob.RestoreJobInput{
		Session: &v1alpha1.RestoreSession{
			ObjectMeta: metav1.ObjectMeta{Name: "bring-back", Namespace: "shop", UID: "uid-restore"},
		},
		Name: moverjob.RestoreJobName("bring-back", "pod-0"),
		Host: v1alpha1.ResolvedRestoreHost{Name: "pod-0", Volumes: []v1alpha1.ResolvedRestoreVolume{
			{Component: "pod-0-data", ID: "k123", Path: "db", ClaimName: "data-new", Files: 7, Bytes: 1000},
			{Component: "pod-0-logs", ID: "k124", ClaimName: "logs-new"},
		}},
		Resolved: v1alpha1.ResolvedRestore{
			Snapshot: "shop-db-shop-hourly-1795154820", SnapshotUID: "uid-snapshot",
			Repository: backupInput().Repository,
			Task: v1alpha1.ResolvedTask{
				Function: "pvc-restore", Driver: v1alpha1.DriverKopia, Image: "example.com/mover:v1", Args: []string{
					"restore",
				},
			},
		},
		AppRef:      backupInput().Target.AppRef,
		Storage:     s3Storage(),
		Credentials: moverjob.Credentials{StorageSecret: "copied-key", EncryptionSecret: "enc"},
		Timeout:     time.Hour,
		ClusterUID:  "uid-cluster",
	}
}

func TestJobsAreAsInTheGoldenFiles(t *testing.T) {
	for name, build := range map[string]func() (*batchv1.Job, error){
		"backup of one pod on its node": func() (*batchv1.Job, error) { return moverjob.BackupJob(backupInput()) },
		"backup as root of a host path into a local storage": func() (*batchv1.Job, error) {
			in := backupInput()
			in.Storage, in.Credentials.StorageSecret = localStorage(), ""
			in.Privileged = true
			in.Host = v1alpha1.ResolvedHost{
				Name: "node-a", Node: "node-a",
				SecurityContext: v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))},
				Volumes:         []v1alpha1.ResolvedVolume{{Component: "node-a", HostPath: "/var/lib/agent"}},
			}
			return moverjob.BackupJob(in)
		},
		"backup of copies into several repositories": func() (*batchv1.Job, error) {
			in := backupInput()
			in.Host.Node = ""
			in.Target.Repositories = make([]v1alpha1.ResolvedRepository, 2)
			in.Target.Hosts = []v1alpha1.ResolvedHost{in.Host}
			in.Target.Copies = []v1alpha1.ResolvedCopy{
				{
					ClaimName: "data-mariadb-0", Name: "copy-data", AccessModes: []corev1.PersistentVolumeAccessMode{
						corev1.ReadWriteOnce,
					},
				},
				{
					ClaimName: "logs-mariadb-0", Name: "copy-logs", AccessModes: []corev1.PersistentVolumeAccessMode{
						corev1.ReadOnlyMany,
					},
				},
			}
			return moverjob.BackupJob(in)
		},
		"backup with a job template": func() (*batchv1.Job, error) {
			in := backupInput()
			in.Host.SecurityContext = v1alpha1.MoverSecurityContext{}
			in.Target.Task.Job = &v1alpha1.JobPodSpec{
				SecurityContext: &v1alpha1.MoverSecurityContext{
					RunAsUser: new(int64(1000)), RunAsGroup: new(int64(2000)),
				},
				Resources: corev1.ResourceRequirements{
					Limits: corev1.ResourceList{
						corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("2"),
					},
				},
				NodeSelector: map[string]string{"disk": "ssd"},
				Tolerations:  []corev1.Toleration{{Key: "backup", Operator: corev1.TolerationOpExists}},
			}
			return moverjob.BackupJob(in)
		},
		"backup by VolumeSnapshots": func() (*batchv1.Job, error) {
			in := backupInput()
			in.Storage, in.Credentials = nil, moverjob.Credentials{}
			in.Session.CreationTimestamp = metav1.NewTime(time.Unix(1795154820, 0))
			in.Target.Task.Driver, in.Target.Task.Args = v1alpha1.DriverVolumeSnapshotter, []string{
				"volume-snapshot",
				"--wait-timeout=10m",
			}
			in.Host = v1alpha1.ResolvedHost{Name: "target", Volumes: []v1alpha1.ResolvedVolume{
				{
					Component: "pod-0", ClaimName: "data-db-0", Snapshot: &v1alpha1.ResolvedVolumeSnapshot{
						Name: "data-db-0-1795154820", ClassName: "fast",
					},
				},
				{
					Component: "pod-1", ClaimName: "data-db-1", Snapshot: &v1alpha1.ResolvedVolumeSnapshot{
						Name: "data-db-1-1795154820", ClassName: "fast",
					},
				},
			}}
			return moverjob.VolumeSnapshotJob(in)
		},
		"restore from VolumeSnapshots": func() (*batchv1.Job, error) {
			return moverjob.VolumeRestoreJob(volumesInput())
		},
		"claims that a Job mounts":    func() (*batchv1.Job, error) { return moverjob.VolumeMountJob(volumesInput()) },
		"restore as the default user": func() (*batchv1.Job, error) { return moverjob.RestoreJob(restoreInput()) },
		"restore as root": func() (*batchv1.Job, error) {
			in := restoreInput()
			in.Privileged = true
			in.Host.SecurityContext.RunAsUser = new(int64(0))
			in.Restore = task.Restore{
				Overwrite: v1alpha1.OverwriteIfNewer, DeleteExtra: true, Verify: true,
				Group: true,
			}
			return moverjob.RestoreJob(in)
		},
		"restore into empty volumes that are given to its group": func() (*batchv1.Job, error) {
			in := restoreInput()
			in.Name = "restore-bring-back-2"
			in.Host.SecurityContext = v1alpha1.MoverSecurityContext{
				RunAsUser:  new(int64(1000)),
				RunAsGroup: new(int64(2000)),
			}
			in.Restore.Group, in.Resume = true, map[string]bool{"pod-0-data": true}
			return moverjob.RestoreJob(in)
		},
		"init of a storage": func() (*batchv1.Job, error) {
			return moverjob.InitStorageJob(moverjob.InitStorageJobInput{
				Storage: s3Storage(), Credentials: moverjob.Credentials{StorageSecret: "s3-key"},
				Digest: "sha256:1", Image: "example.com/mover:v1", ClusterUID: "uid-cluster",
			})
		},
		"init of an NFS storage with runtime settings": func() (*batchv1.Job, error) {
			s := localStorage()
			s.Spec.Storage.Local = &v1alpha1.LocalStorage{NFS: &v1alpha1.NFSVolumeSource{
				Server: "nfs.example.com",
				Path:   "/export",
			}, MountPath: "/backups"}
			s.Spec.RuntimeSettings = &v1alpha1.RuntimeSettings{
				Pod: &v1alpha1.PodRuntimeSettings{
					SecurityContext:   &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(1000))},
					PriorityClassName: "low", SchedulerName: "packing", RuntimeClassName: new("small"),
					ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
					Affinity: &corev1.Affinity{
						NodeAffinity: &corev1.NodeAffinity{
							PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
								Weight: 1, Preference: corev1.NodeSelectorTerm{
									MatchExpressions: []corev1.NodeSelectorRequirement{
										{Key: "disk", Operator: corev1.NodeSelectorOpExists},
									},
								},
							}},
						},
					},
					TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
						{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.ScheduleAnyway},
					},
					NodeSelector: map[string]string{"zone": "a"},
					Tolerations:  []corev1.Toleration{{Key: "backup", Operator: corev1.TolerationOpExists}},
				},
				Container: &v1alpha1.ContainerRuntimeSettings{Resources: corev1.ResourceRequirements{
					Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
				}},
			}
			return moverjob.InitStorageJob(moverjob.InitStorageJobInput{
				Storage: s, Digest: "sha256:3", Privileged: true,
				Image: "example.com/mover:v1", ClusterUID: "uid-cluster",
			})
		},
		"init of a storage whose pod has labels, a node and an account": func() (*batchv1.Job, error) {
			return moverjob.InitStorageJob(moverjob.InitStorageJobInput{
				Storage: settledStorage(), Credentials: moverjob.Credentials{StorageSecret: "s3-key"},
				Digest: "sha256:4", Image: "example.com/mover:v1", ClusterUID: "uid-cluster", Privileged: true,
			})
		},
		"backup into a storage on a host path": func() (*batchv1.Job, error) {
			in := backupInput()
			in.Storage, in.Credentials.StorageSecret, in.Privileged = hostStorage(), "", true
			return moverjob.BackupJob(in)
		},
		"init of a repository on a local storage": func() (*batchv1.Job, error) {
			return moverjob.InitRepositoryJob(moverjob.InitRepositoryJobInput{
				Repository: &v1alpha1.Repository{
					ObjectMeta: metav1.ObjectMeta{
						Name: "shop-db", Namespace: "shop", UID: "uid-repository", Annotations: map[string]string{
							v1alpha1.AnnotationAdopt: "shop/db@them",
						},
					},
					Spec: v1alpha1.RepositorySpec{
						AppRef: backupInput().Target.AppRef, Path: "shop//db", Driver: v1alpha1.DriverKopia,
					},
				},
				Storage: localStorage(), Credentials: moverjob.Credentials{EncryptionSecret: "enc"},
				Digest: "sha256:2", Image: "example.com/mover:v1", ClusterUID: "uid-cluster",
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			job, err := build()
			g.Expect(err).NotTo(HaveOccurred())
			got, err := yaml.Marshal(job)
			g.Expect(err).NotTo(HaveOccurred())
			golden(t, name+".yaml", got)

			again, err := build()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again).To(Equal(job), "equal inputs give equal Jobs")
		})
	}
}

func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join("testdata", name)
	if *update {
		g.Expect(os.WriteFile(file, got, 0o644)).To(Succeed())
		return
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred(), "run with -update to write it")
	g.Expect(string(got)).To(Equal(string(want)))
}

func TestJobsThatNeedPrivilegeAreRefused(t *testing.T) {
	for name, change := range map[string]func(*moverjob.BackupJobInput){
		"user 0 of the target's pod": func(in *moverjob.BackupJobInput) {
			in.Host.SecurityContext.RunAsUser = new(int64(0))
		},
		"user 0 of the job template": func(in *moverjob.BackupJobInput) {
			in.Host.SecurityContext = v1alpha1.MoverSecurityContext{}
			in.Target.Task.Job = &v1alpha1.JobPodSpec{
				SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(0))},
			}
		},
		"an SELinux type of the job template": func(in *moverjob.BackupJobInput) {
			in.Host.SecurityContext.SELinuxOptions = nil
			in.Target.Task.Job = &v1alpha1.JobPodSpec{
				SecurityContext: &v1alpha1.MoverSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}},
			}
		},
		"an SELinux user of the target's pod": func(in *moverjob.BackupJobInput) {
			in.Host.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{User: "system_u"}
		},
		"a storage on a host path":   func(in *moverjob.BackupJobInput) { in.Storage = hostStorage() },
		"a storage on an NFS server": func(in *moverjob.BackupJobInput) { in.Storage = nfsStorage() },
		"a priority class of the system": func(in *moverjob.BackupJobInput) {
			in.Target.Task.Job = &v1alpha1.JobPodSpec{PriorityClassName: "system-node-critical"}
		},
		"a host path": func(in *moverjob.BackupJobInput) {
			in.Host.Volumes = []v1alpha1.ResolvedVolume{{Component: "node-a", HostPath: "/var"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := backupInput()
			change(&in)
			_, err := moverjob.BackupJob(in)
			g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
			in.Privileged = true
			_, err = moverjob.BackupJob(in)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

// settledStorage returns a storage with runtimeSettings, which the other storages of these tests lack.
func settledStorage() *v1alpha1.BackupStorage {
	s := s3Storage()
	s.Spec.RuntimeSettings = &v1alpha1.RuntimeSettings{Pod: &v1alpha1.PodRuntimeSettings{
		PodLabels:      map[string]string{"team": "shop", v1alpha1.LabelManagedBy: "me"},
		PodAnnotations: map[string]string{"mesh": "off", v1alpha1.AnnotationTask: "{}"},
		NodeName:       "node-a", PriorityClassName: "low", Priority: new(int32(-1)), EnableServiceLinks: new(true),
		ServiceAccountName: "bucket-reader",
	}}
	return s
}

func TestAllJobsOfAStorageHaveItsSettings(t *testing.T) {
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-db", Namespace: "shop", UID: "uid-repository"},
		Spec:       v1alpha1.RepositorySpec{Path: "shop/db", Driver: v1alpha1.DriverKopia},
	}
	build := map[string]func(privileged bool) (*batchv1.Job, error){
		"init of the storage": func(privileged bool) (*batchv1.Job, error) {
			return moverjob.InitStorageJob(moverjob.InitStorageJobInput{
				Storage: settledStorage(), Digest: "sha256:1",
				Privileged: privileged,
			})
		},
		"init of a repository": func(privileged bool) (*batchv1.Job, error) {
			return moverjob.InitRepositoryJob(moverjob.InitRepositoryJobInput{
				Storage: settledStorage(), Repository: repository,
				Digest: "sha256:1", Privileged: privileged,
			})
		},
		"keeper": func(privileged bool) (*batchv1.Job, error) {
			return moverjob.KeepJob(moverjob.KeepJobInput{
				Name: "keeper-s3", Namespace: "shop", Label: "keeper-s3",
				Storage: settledStorage(), Privileged: privileged,
				Work: []moverjob.KeepWork{
					{Repository: repository, EncryptionSecret: "enc", Maintain: task.MaintainQuick},
				},
			})
		},
	}
	for name, build := range build {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := build(false)
			g.Expect(err).To(MatchError(ContainSubstring("serviceAccountName bucket-reader " +
				moverjob.ErrPrivilegeRequired.Error())))
			job, err := build(true)
			g.Expect(err).NotTo(HaveOccurred())
			template := job.Spec.Template
			g.Expect(template.Labels).To(And(HaveKeyWithValue("team", "shop"), HaveKeyWithValue(v1alpha1.LabelManagedBy,
				v1alpha1.ManagedByCairn)))
			g.Expect(template.Annotations).To(And(HaveKeyWithValue("mesh", "off"),
				HaveKeyWithValue(v1alpha1.AnnotationTask,
					ContainSubstring("version"))), "the task annotation stays Cairn's")
			g.Expect(job.Labels).NotTo(HaveKey("team"), "the labels are for the pod")
			pod := template.Spec
			g.Expect(pod.NodeName).To(BeEmpty(), "the scheduler places the pod")
			required := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
			g.Expect(required.NodeSelectorTerms[0].MatchFields[0].Values).To(Equal([]string{"node-a"}))
			g.Expect(pod.PriorityClassName).To(Equal("low"))
			g.Expect(*pod.Priority).To(Equal(int32(-1)))
			g.Expect(*pod.EnableServiceLinks).To(BeTrue())
			g.Expect(pod.ServiceAccountName).To(Equal("bucket-reader"))
			g.Expect(*pod.AutomountServiceAccountToken).To(BeFalse())
		})
	}
}

// The pod of a Job that has reached its deadline is deleted, and the result with it. A keeper ends by itself before
// that, and reports what it has done.
func TestAKeeperEndsBeforeItsJob(t *testing.T) {
	g := NewWithT(t)
	job, err := moverjob.KeepJob(moverjob.KeepJobInput{
		Name: "keeper-s3", Namespace: "shop", Label: "keeper-s3", Storage: settledStorage(), Privileged: true,
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(time.Duration(*job.Spec.ActiveDeadlineSeconds)*time.Second-task.KeepTimeout).
		To(BeNumerically(">=", 20*time.Minute), "a pod begins that late at most")
}

func TestAnAnnotationLiftsNoConfinement(t *testing.T) {
	g := NewWithT(t)
	in := backupInput()
	in.Target.Task.PodMetadata = &v1alpha1.TemplateMetadata{
		Annotations: map[string]string{"container.apparmor.security.beta.kubernetes.io/mover": "unconfined"},
	}
	_, err := moverjob.BackupJob(in)
	g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
	in.Privileged = true
	_, err = moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestATaskSurvivesItsWayThroughTheAnnotation(t *testing.T) {
	g := NewWithT(t)
	job, err := moverjob.BackupJob(backupInput())
	g.Expect(err).NotTo(HaveOccurred())
	text := job.Spec.Template.Annotations[v1alpha1.AnnotationTask]
	got, err := task.Decode([]byte(text), task.KindBackup)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Components).To(Equal([]task.Component{{Name: "pod-0-data", Path: "db"}, {Name: "pod-0-logs"}}))
	g.Expect(got.Repository.Directory).To(Equal("shop/db"))
	g.Expect(got.Snapshot.Spec.SnapshotID).To(Equal("01JD"))
	g.Expect(got.Repository.MustExist).To(BeTrue(), "only init Jobs create repositories")

	for _, bad := range []string{
		"", "{}", `{"version":2,"kind":"backup"}`, `{"version":1,"kind":"restore"}`,
		`{"version":1,"kind":"backup","cluster":"c"}`,
	} {
		_, err := task.Decode([]byte(bad), task.KindBackup)
		g.Expect(err).To(HaveOccurred(), bad)
	}
}
