package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func jobOf(name string, change func(*corev1.PodSpec)) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metaOf(name, byCairn)}
	job.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: v1alpha1.MoverServiceAccount,
		AutomountServiceAccountToken: new(false), Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}
	change(&job.Spec.Template.Spec)
	return job
}

// jobWith returns a Job of Cairn whose container has a security context.
func jobWith(c *corev1.SecurityContext) *batchv1.Job {
	return jobOf("j", func(p *corev1.PodSpec) { p.Containers[0].SecurityContext = c })
}

// unlabelled returns a Job of somebody else.
func unlabelled(name string) *batchv1.Job {
	job := jobOf(name, func(*corev1.PodSpec) {})
	job.Labels = nil
	return job
}

// jobs are the Jobs that a manager that was taken over could create.
func jobs() map[string]written {
	return map[string]written{
		"a Job without a label": {unlabelled("j"), notOurWork},
		"a Job of a mover":      {jobOf("j", func(*corev1.PodSpec) {}), ""},
		"a Job of a Function":   {jobOf("j", func(p *corev1.PodSpec) { p.ServiceAccountName = "" }), ""},
		"a Job as another account": {
			jobOf("j", func(p *corev1.PodSpec) { p.ServiceAccountName = "deployer" }), "not as deployer",
		},
		"a Job with the token of the default account": {
			jobOf("j", func(p *corev1.PodSpec) { p.ServiceAccountName, p.AutomountServiceAccountToken = "", nil }),
			"runs as an account of Cairn",
		},
		"a Job with a host path": {
			jobOf("j", func(p *corev1.PodSpec) {
				p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/"},
				}}}
			}), "neither host paths",
		},
		"a Job on the host's network": {
			jobOf("j", func(p *corev1.PodSpec) { p.HostNetwork = true }), "shares no network",
		},
		"a Job that pushes others out": {
			jobOf("j", func(p *corev1.PodSpec) { p.PriorityClassName = "system-node-critical" }),
			"no priority class of the system",
		},
	}
}

// privileges are the Jobs with which it could leave the container.
func privileges() map[string]written {
	return map[string]written{
		"a Job with a volume from the network": {
			jobOf("j", func(p *corev1.PodSpec) {
				p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
					ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.2001-04.com.example:disk"},
				}}}
			}), "only volumes that the restricted profile",
		},
		"a Job that owns its node": {
			jobWith(&corev1.SecurityContext{Privileged: new(true)}), overRestricted,
		},
		"a Job with capabilities": {
			jobWith(&corev1.SecurityContext{
				Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}},
			}), overRestricted,
		},
		"a Job that can gain privileges": {
			jobWith(&corev1.SecurityContext{AllowPrivilegeEscalation: new(true)}), overRestricted,
		},
		"a Job without a filter of system calls": {
			jobWith(&corev1.SecurityContext{
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
			}), overRestricted,
		},
		"a Job whose first container owns its node": {
			jobOf("j", func(p *corev1.PodSpec) {
				p.InitContainers = []corev1.Container{{
					Name: "i", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
				}}
			}), overRestricted,
		},
		"a Job that tunes the kernel": {
			jobOf("j", func(p *corev1.PodSpec) {
				p.SecurityContext = &corev1.PodSecurityContext{
					Sysctls: []corev1.Sysctl{{Name: "net.core.somaxconn", Value: "1"}},
				}
			}), overRestricted,
		},
		"a Job at a port of its node": {
			jobOf("j", func(p *corev1.PodSpec) {
				p.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
			}), "no port of its node",
		},
		"a Job as the restricted profile has it": {
			jobWith(&corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), Privileged: new(false), RunAsNonRoot: new(true),
				Capabilities: &corev1.Capabilities{
					Add: []corev1.Capability{"NET_BIND_SERVICE"}, Drop: []corev1.Capability{"ALL"},
				},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			}), "",
		},
	}
}

// withPrivilege are the golden Jobs that need the consent of their Namespace.
var withPrivilege = []string{
	"backup as root of a host path into a local storage.yaml", "backup into a storage on a host path.yaml",
	"init of a storage whose pod has labels, a node and an account.yaml",
	"init of an NFS storage with runtime settings.yaml", "restore as root.yaml",
}

// eachJobIsAllowed lets the manager create the Jobs that internal/task/moverjob builds.
func eachJobIsAllowed(t *testing.T, manager client.Client) {
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", "task", "moverjob", "testdata", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	tried := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		job := &batchv1.Job{}
		if yaml.Unmarshal(text, job) != nil || job.Kind != "Job" {
			continue
		}
		tried++
		job.Namespace, job.OwnerReferences = "writes", nil
		err = manager.Create(t.Context(), job, client.DryRunAll)
		if slices.Contains(withPrivilege, filepath.Base(file)) {
			g.Expect(err).To(MatchError(ContainSubstring("cairn-manager-pods")), file)
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), file)
	}
	g.Expect(tried).To(BeNumerically(">", 15), strings.Join(files, ", "))
}
