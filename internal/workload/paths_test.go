package workload_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// site is the spec of a pod whose containers mount volumes below the paths of others.
func site() corev1.PodSpec {
	more := func(name string, source corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: source}
	}
	socket := &corev1.HostPathVolumeSource{Path: "/run/x.sock", Type: ptr.To(corev1.HostPathSocket)}
	spec := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"),
		workloadtest.ClaimVolume("cache", "web-cache"), workloadtest.ClaimVolume("twin", "web-data"),
		more("nas", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nas", Path: "/x"}}),
		more("tmp", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		more("path", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}}),
		more("socket", corev1.VolumeSource{HostPath: socket}))
	spec.Containers = []corev1.Container{
		{Name: "app", VolumeMounts: []corev1.VolumeMount{
			workloadtest.Mount("data", "/var/www"), workloadtest.Mount("cache", "/var/www/cache/"),
			workloadtest.Mount("tmp", "/var/www/tmp"), workloadtest.Mount("twin", "/var/www/twin"),
			{Name: "data", MountPath: "/app/html", SubPath: "html"},
			{Name: "data", MountPath: "/app/html/files", SubPath: "html/files"},
			{Name: "data", MountPath: "/app/html/pics", SubPath: "pics"},
			{Name: "data", MountPath: "/etc/web", SubPath: "etc"},
			{Name: "cache", MountPath: "/etc/web/cache", SubPath: "a"},
			{Name: "cache", MountPath: "/opt/b", SubPath: "b"},
			{Name: "data", MountPath: "/log", SubPath: "log"},
			{Name: "data", MountPath: "/log/pod", SubPathExpr: "$(POD)"},
			{Name: "data", MountPath: "/nfs", SubPath: "nfs"},
			workloadtest.Mount("nas", "/nfs/nas"),
			{Name: "data", MountPath: "/host", SubPath: "host"},
			workloadtest.Mount("path", "/host/path"),
			{Name: "data", MountPath: "/run/web", SubPath: "run"},
			workloadtest.Mount("socket", "/run/web/x.sock"),
			{Name: "data", MountPath: "/same", SubPath: "same"},
		}},
		{Name: "other", VolumeMounts: []corev1.VolumeMount{
			workloadtest.Mount("data", "/var/www"), workloadtest.Mount("cache", "/same"),
		}},
	}
	return spec
}

func TestAVolumeBelowAListedPathIsNotForgotten(t *testing.T) {
	for name, tt := range map[string]struct {
		paths, want, says string
		privileged        bool
	}{
		"another claim": {
			paths: "/var/www",
			says:  "/var/www/cache is on volume cache, which would be left out: name it, too, or leave it out on",
		},
		"another claim that is named": {
			paths: "/var/www,/var/www/cache", want: "target@: data=web-data cache=web-cache",
		},
		"another claim of which a directory is named": {
			paths: "/var/www,/var/www/cache/a", want: "target@: data=web-data cache=web-cache//a",
		},
		"another claim that is left out": {
			paths: "/var/www , !/var/www/cache/", want: "target@: data=web-data",
		},
		"all below is left out":          {paths: "/var/www,!/var/www", want: "target@: data=web-data"},
		"a directory without mounts":     {paths: "/var/www/html", want: "target@: data=web-data//html"},
		"a directory beside a mount":     {paths: "/var/www/cach", want: "target@: data=web-data//cach"},
		"a mount of a part that is kept": {paths: "/app/html/files", want: "target@: data=web-data//html/files"},
		"another part of the same volume": {
			paths: "/app/html",
			says: "/app/html/pics is directory /pics of volume data, of which only /html is backed up: " +
				"name a path that stands for / of the volume, or none, or leave it out on purpose: !/app/html/pics",
		},
		"another part of the same volume that is left out": {
			paths: "/app/html,!/app/html/pics", want: "target@: data=web-data//html",
		},
		"another part of a volume that is named elsewhere": {
			paths: "/etc/web,/opt/b",
			says:  "/etc/web/cache is directory /a of volume cache, of which only /b is backed up",
		},
		"a part that only the kubelet knows": {paths: "/log", says: "leave it out on purpose: !/log/pod"},
		"an NFS export": {
			paths: "/nfs",
			says:  "/nfs/nas is on volume nas, which can't be backed up: leave it out on purpose: !/nfs/nas",
		},
		"an NFS export that is left out": {paths: "/nfs,!/nfs/nas", want: "target@: data=web-data//nfs"},
		"a hostPath":                     {paths: "/host", says: "on volume path, which can't be backed up"},
		"a hostPath with the annotation": {paths: "/host", privileged: true, says: "name it, too"},
		"a socket":                       {paths: "/run/web", privileged: true, want: "target@: data=web-data//run"},
		"the path of another container": {
			paths: "/same", says: "/same is also on volume cache in another container",
		},
		"a directory of another container": {
			paths: "/same/x", says: "/same/x is also on volume cache in another container",
		},
		"the path of another container that is left out": {
			paths: "/same/x,!/same/x", want: "target@: data=web-data//same/x",
		},
		"nothing is mounted where something is left out": {
			paths: "/var/www/html,!/var/www/html/old", says: "with the parameter exclude",
		},
		"nothing but what is left out": {paths: "!/var/www/cache", says: "name a directory to back up"},
		"a relative path":              {paths: "/var/www,!cache", says: `"!cache" is not an absolute path`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, refusal := workload.ResolveHosts(workload.Target{
				Deployment: workloadtest.Deployment(site()), Paths: tt.paths, Privileged: tt.privileged,
				Claims: []corev1.PersistentVolumeClaim{
					workloadtest.Claim("web-data"), workloadtest.Claim("web-cache"),
				},
			})
			if tt.says != "" {
				g.Expect(refusal).To(HaveValue(And(HaveField("Reason", v1alpha1.ReasonInvalidParameters),
					HaveField("Message", ContainSubstring(tt.says)))))
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(hosts(got)).To(Equal([]string{tt.want}))
		})
	}
}

// A sidecar stays as it is until its policy is corrected: a run says what is wrong.
func TestASidecarStaysWhereAListedPathIsNotWhole(t *testing.T) {
	g := NewWithT(t)
	volumes, _, refusal := workload.SidecarVolumes(
		workload.Target{Deployment: workloadtest.Deployment(site()), Paths: "/var/www"})
	g.Expect(refusal).To(BeNil())
	g.Expect(volumes).To(Equal([]string{"data"}))
}
