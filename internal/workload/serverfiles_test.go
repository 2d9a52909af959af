package workload_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// serverPod returns a pod with its files on the claim data-db-0, and files of a sidecar on another claim.
func serverPod() *corev1.Pod {
	spec := corev1.PodSpec{
		Volumes: []corev1.Volume{
			workloadtest.ClaimVolume("data", "data-db-0"), workloadtest.ClaimVolume("other", "other"), {Name: "conf"},
		},
		Containers: []corev1.Container{
			{Name: "exporter", VolumeMounts: []corev1.VolumeMount{workloadtest.Mount("other", "/var/lib/mysql")}},
			{Name: "db", VolumeMounts: []corev1.VolumeMount{
				{Name: "data", MountPath: "/var/lib/mysql/", SubPath: "mysql"},
				workloadtest.Mount("conf", "/etc/mysql"),
				workloadtest.Mount("other", "/tmp/other"), workloadtest.Mount("other", "/run/secrets/db"),
				workloadtest.Mount("other", "/var"),
				{Name: "other", MountPath: "/by/pod", SubPathExpr: "$(POD)"},
			}},
		},
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: new(int64(999)), FSGroup: new(int64(998))},
	}
	p := workloadtest.Pod("db-0", "node-b", spec)
	return &p
}

func TestTheFilesOfAServer(t *testing.T) {
	for name, tc := range map[string]struct {
		dir    string
		edit   func(*workload.Target)
		want   v1alpha1.ResolvedVolume
		reason string
		says   string
	}{
		"where the server mounts them": {
			dir:  "/var/lib/mysql",
			want: v1alpha1.ResolvedVolume{ClaimName: "data-db-0", MountPath: "/var/lib/mysql", SubPath: "mysql"},
		},
		"deeper in the volume": {
			dir:  "/var/lib/mysql/a/",
			want: v1alpha1.ResolvedVolume{ClaimName: "data-db-0", MountPath: "/var/lib/mysql", SubPath: "mysql"},
		},
		"several pods": {
			dir: "/var/lib/mysql", edit: func(t *workload.Target) { t.Server, t.ServerContainer = nil, nil },
			reason: v1alpha1.ReasonInvalidTask, says: "a Service with exactly one pod",
		},
		"no claim": {
			dir: "/etc/mysql", reason: v1alpha1.ReasonInvalidParameters,
			says: "/etc/mysql of container db of pod db-0 is on no PersistentVolumeClaim",
		},
		"no volume": {
			dir: "/srv", reason: v1alpha1.ReasonInvalidParameters, says: "on no PersistentVolumeClaim",
		},
		"no path":            {dir: "data", reason: v1alpha1.ReasonInvalidParameters, says: "not an absolute path"},
		"a path of each pod": {dir: "/by/pod", reason: v1alpha1.ReasonInvalidParameters, says: "subPathExpr"},
		"another volume in it": {
			dir: "/var/lib/mysql", edit: func(t *workload.Target) {
				t.ServerContainer.VolumeMounts = append(t.ServerContainer.VolumeMounts,
					workloadtest.Mount("other", "/var/lib/mysql/tablespaces"))
			}, reason: v1alpha1.ReasonInvalidParameters,
			says: "/var/lib/mysql/tablespaces of container db of pod db-0 is on volume other, which the backup would",
		},
		"another directory of its volume in it": {
			dir: "/var/lib/mysql", edit: func(t *workload.Target) {
				t.ServerContainer.VolumeMounts = append(t.ServerContainer.VolumeMounts,
					corev1.VolumeMount{Name: "data", MountPath: "/var/lib/mysql/logs", SubPath: "logs"})
			}, reason: v1alpha1.ReasonInvalidParameters, says: "/var/lib/mysql/logs of container db",
		},
		"mounts in it that hold none of its files": {
			dir: "/var/lib/mysql", edit: func(t *workload.Target) {
				t.ServerContainer.VolumeMounts = append(t.ServerContainer.VolumeMounts,
					workloadtest.Mount("conf", "/var/lib/mysql/my.cnf"),
					corev1.VolumeMount{Name: "data", MountPath: "/var/lib/mysql/a", SubPath: "mysql/a"})
			},
			want: v1alpha1.ResolvedVolume{ClaimName: "data-db-0", MountPath: "/var/lib/mysql", SubPath: "mysql"},
		},
		"a path that movers use": {
			dir: "/tmp/other", reason: v1alpha1.ReasonInvalidParameters, says: "a path that movers use themselves",
		},
		"a path of Kubernetes' tokens": {
			dir: "/run/secrets/db", reason: v1alpha1.ReasonInvalidParameters, says: "a path that movers use themselves",
		},
		"above a path that movers use": {
			dir: "/var/db", reason: v1alpha1.ReasonInvalidParameters, says: "a path that movers use themselves",
		},
		"a ReadWriteOncePod claim in use": {dir: "/var/lib/mysql", edit: func(t *workload.Target) {
			t.Claims = []corev1.PersistentVolumeClaim{workloadtest.Claim("data-db-0", corev1.ReadWriteOncePod)}
		}, reason: v1alpha1.ReasonVolumeInUse, says: "ReadWriteOncePod"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			server := serverPod()
			target := workload.Target{
				Streams: []catalog.ComponentStream{
					{Component: "dump", Stream: &v1alpha1.ResolvedStream{DataDirectory: tc.dir}},
				},
				Server: server, ServerContainer: &server.Spec.Containers[1],
				Pods:   []corev1.Pod{*server},
				Claims: []corev1.PersistentVolumeClaim{workloadtest.Claim("data-db-0"), workloadtest.Claim("other")},
			}
			if tc.edit != nil {
				tc.edit(&target)
			}
			hosts, refusal := workload.ResolveHosts(target)
			if tc.reason != "" {
				g.Expect(refusal).To(HaveField("Reason", tc.reason))
				g.Expect(refusal.Message).To(ContainSubstring(tc.says))
				return
			}
			g.Expect(refusal).To(BeNil())
			tc.want.Component, tc.want.Stream = "dump", target.Streams[0].Stream
			g.Expect(hosts).To(HaveLen(1))
			g.Expect(hosts[0].Volumes).To(Equal([]v1alpha1.ResolvedVolume{tc.want}))
			g.Expect(hosts[0].Node).To(Equal("node-b"), "the node on which the claim is in use")
			g.Expect(hosts[0].SecurityContext).To(
				And(HaveField("RunAsUser", HaveValue(Equal(int64(999)))), HaveField("SupplementalGroups", Equal([]int64{
					998,
				}))))
		})
	}
}
