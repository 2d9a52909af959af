package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// dumpInput is the backup of a database whose programs are of the image example.com/database.
func dumpInput() moverjob.BackupJobInput {
	in := backupInput()
	in.Target.Task.Image = "example.com/database"
	in.Target.Task.Database = &v1alpha1.ResolvedDatabase{MoverImage: "example.com/mover:v1", SecretName: "db-auth"}
	in.Host.Volumes = []v1alpha1.ResolvedVolume{{
		Component: "dump", Stream: &v1alpha1.ResolvedStream{Command: []string{"dump"}, FileName: "dump"},
	}}
	return in
}

// podOf returns the containers of a dump's Job.
func podOf(t *testing.T, in moverjob.BackupJobInput) (mover, program corev1.Container) {
	t.Helper()
	job, err := moverjob.BackupJob(in)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	pod := job.Spec.Template.Spec
	for _, c := range pod.InitContainers {
		if c.Name == task.ProgramContainer {
			program = c
		}
	}
	return pod.Containers[0], program
}

// The limits hold for both containers. The requests of the policy are those of the mover: together the two need what
// one container needed before.
func TestTheResourcesOfAProgram(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	for name, tc := range map[string]struct{ asked, mover, program corev1.ResourceRequirements }{
		"none": {
			mover:   corev1.ResourceRequirements{Requests: list("cpu", "50m", "memory", "128Mi")},
			program: corev1.ResourceRequirements{Requests: list("cpu", "50m", "memory", "128Mi")},
		},
		"all": {
			asked: corev1.ResourceRequirements{
				Requests: list("cpu", "2", "memory", "4Gi"), Limits: list("cpu", "4", "memory", "4Gi"),
			},
			mover: corev1.ResourceRequirements{
				Requests: list("cpu", "2", "memory", "4Gi"), Limits: list("cpu", "4", "memory", "4Gi"),
			},
			program: corev1.ResourceRequirements{
				Requests: list("cpu", "50m", "memory", "128Mi"), Limits: list("cpu", "4", "memory", "4Gi"),
			},
		},
		"little, and a disk": {
			asked: corev1.ResourceRequirements{Limits: list("memory", "100Mi", "ephemeral-storage", "1Gi")},
			mover: corev1.ResourceRequirements{
				Requests: list("cpu", "50m", "memory", "100Mi"),
				Limits:   list("memory", "100Mi", "ephemeral-storage", "1Gi"),
			},
			program: corev1.ResourceRequirements{
				Requests: list("cpu", "50m", "memory", "100Mi", "ephemeral-storage", "0"),
				Limits:   list("memory", "100Mi", "ephemeral-storage", "1Gi"),
			},
		},
		"a device": {
			asked: corev1.ResourceRequirements{Limits: list("example.com/device", "1")},
			mover: corev1.ResourceRequirements{
				Requests: list("cpu", "50m", "memory", "128Mi"), Limits: list("example.com/device", "1"),
			},
			program: corev1.ResourceRequirements{Requests: list("cpu", "50m", "memory", "128Mi")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := dumpInput()
			in.Target.Task.Job = &v1alpha1.JobPodSpec{Resources: tc.asked}
			mover, program := podOf(t, in)
			for _, c := range []struct{ got, want corev1.ResourceRequirements }{
				{mover.Resources, tc.mover}, {program.Resources, tc.program},
			} {
				g.Expect(c.got.Limits).To(HaveLen(len(c.want.Limits)))
				g.Expect(c.got.Requests).To(HaveLen(len(c.want.Requests)))
				for name, want := range c.want.Limits {
					g.Expect(c.got.Limits[name]).To(WithTransform(text, Equal(text(want))))
				}
				for name, want := range c.want.Requests {
					g.Expect(c.got.Requests[name]).To(WithTransform(text, Equal(text(want))), "%s", name)
				}
			}
		})
	}
}

func text(q resource.Quantity) string { return q.String() }

// Volumes of the Function, the Addon and the policy are for the program. The mover sees them read-only, except the
// directory of its cache, which it has to itself.
func TestTheVolumesOfAProgram(t *testing.T) {
	g := NewWithT(t)
	in := dumpInput()
	in.Target.Task.Args = []string{"backup", "--cache=true", "--scratch-dir=/own-cache/kopia"}
	for _, name := range []string{"conf", "own-cache"} {
		in.Target.Task.Volumes = append(in.Target.Task.Volumes, corev1.Volume{Name: name})
	}
	in.Target.Task.Steps = []v1alpha1.ResolvedStep{{
		Function: "announce", Container: corev1.Container{Name: "announce-0", Image: "example.com/announce:v1"},
	}}
	in.Target.Task.Container = &corev1.Container{
		Command: []string{"sh"}, WorkingDir: "/srv", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
		Env: []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "proxy:3128"}, {Name: "PATH", Value: "/opt/bin"}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "conf", MountPath: "/etc/dump"},
			{Name: "own-cache", MountPath: "/own-cache"},
			{Name: "work", MountPath: "/more"},
		},
	}
	mover, program := podOf(t, in)
	at := func(c corev1.Container) map[string]bool {
		out := map[string]bool{}
		for _, m := range c.VolumeMounts {
			out[m.Name+" "+m.MountPath] = !m.ReadOnly
		}
		return out
	}
	g.Expect(at(program)).To(Equal(map[string]bool{
		"cairn-bin /cairn/bin": false, "cairn-programs /cairn/programs": true, "cairn-program-work /tmp": true,
		"cairn-database /cairn/database": false, "scratch /cairn/scratch": true, "conf /etc/dump": true,
	}))
	g.Expect(at(mover)).To(Equal(map[string]bool{
		"task /cairn/task": false, "work /tmp": true, "token /var/run/secrets/kubernetes.io/serviceaccount": false,
		"credentials /cairn/credentials": false, "encryption /cairn/encryption": false,
		"cairn-database /cairn/database": false, "cairn-programs /cairn/programs": false,
		"conf /etc/dump": false, "own-cache /own-cache": true, "work /more": true,
	}))
	g.Expect(program.Env).To(Equal([]corev1.EnvVar{{Name: "PATH", Value: "/opt/bin"}}))
	g.Expect(mover.Env).To(ContainElement(corev1.EnvVar{Name: "HTTPS_PROXY", Value: "proxy:3128"}))
	g.Expect(mover.Command).To(BeNil(), "it is for the image of the Function")
	g.Expect(mover.WorkingDir).To(BeEmpty())
	g.Expect(mover.Ports).To(BeEmpty())

	in.Target.Task.Args = []string{"backup", "--scratch-dir=/cairn/scratch"}
	mover, program = podOf(t, in)
	g.Expect(at(mover)).To(HaveKeyWithValue("scratch /cairn/scratch", true))
	g.Expect(at(program)).NotTo(HaveKey("scratch /cairn/scratch"), "it holds the cache of the mover")
}

// Without a Secret the mover has the identity of the pod, and so has every container in it.
func TestAProgramDoesNotShareTheIdentityOfAPod(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(in *moverjob.BackupJobInput)
		says   string
	}{
		"S3 without a Secret": {
			func(in *moverjob.BackupJobInput) { in.Storage.Spec.Storage.S3.SecretName = "" },
			"build Job backup-shop-db-shop-hourly-1795154820-pod-0-dfd2ff3a: image example.com/database in the pod " +
				"of a mover for the storage backup/s3, which has the identity of the pod because " +
				"spec.storage.s3.secretName is not set, needs the annotation backup.cairn.dev/privileged-movers: " +
				`"true" on the Namespace. Set spec.storage.s3.secretName to the name of a Secret, or see who may ` +
				"choose that image",
		},
		"GCS without a Secret": {func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderGCS, GCS: &v1alpha1.GCSStorage{}}
		}, "spec.storage.gcs.secretName is not set"},
		"Azure without a Secret": {func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage = v1alpha1.Storage{
				Provider: v1alpha1.ProviderAzure, Azure: &v1alpha1.AzureStorage{},
			}
		}, "spec.storage.azure.secretName is not set"},
		"a step with an image of its own": {func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage.S3.SecretName = ""
			in.Target.Task.Image, in.Target.Task.Database = "example.com/mover:v1", nil
			in.Target.Task.Steps = []v1alpha1.ResolvedStep{{Container: corev1.Container{Name: "a-0", Image: "app:v1"}}}
		}, "image app:v1 in the pod of a mover"},
		"a step with the image of the mover": {change: func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage.S3.SecretName = ""
			in.Target.Task.Image, in.Target.Task.Database = "example.com/mover:v1", nil
			in.Target.Task.Steps = []v1alpha1.ResolvedStep{
				{Container: corev1.Container{Name: "a-0", Image: "example.com/mover:v1"}},
			}
		}},
		"with a Secret": {change: func(*moverjob.BackupJobInput) {}},
		"where the administrator allows it": {change: func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage.S3.SecretName, in.Privileged = "", true
		}},
		"WebDAV without a Secret": {change: func(in *moverjob.BackupJobInput) {
			in.Storage.Spec.Storage = v1alpha1.Storage{
				Provider: v1alpha1.ProviderWebDAV, WebDAV: &v1alpha1.WebDAVStorage{},
			}
		}},
		"a volume": {change: func(in *moverjob.BackupJobInput) { in.Storage = localStorage() }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := dumpInput()
			tc.change(&in)
			_, err := moverjob.BackupJob(in)
			if tc.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(And(MatchError(moverjob.ErrPrivilegeRequired), MatchError(ContainSubstring(tc.says))))
		})
	}
}
