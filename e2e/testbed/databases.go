package testbed

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DatabaseImages are the archives that "hack/images databases" writes, each with the servers and the clients of one
// database. Deploy does not load them: a scenario loads what it needs with LoadImage.
var DatabaseImages = []string{"postgresql", "mariadb", "redis"}

// databasePorts are where the servers listen.
var databasePorts = map[string]int32{"postgresql": 5432, "mariadb": 3306, "redis": 6379}

// databaseUser is the user of the databases' images.
const databaseUser = 65532

// Database is a real server with its volume, in a namespace that can enforce the Pod Security level restricted.
type Database struct {
	// Image is one of DatabaseImages.
	Image string
	// Namespace and Name of the StatefulSet and of the Service.
	Namespace, Name string
	// Secret with username and password, the server's own user.
	Secret string
	// TLS is a Secret with tls.crt and tls.key. With it the server takes only encrypted connections.
	TLS string
}

// Pod is the name of the server's pod.
func (d Database) Pod() string { return d.Name + "-0" }

// DeployDatabase makes the Service and the StatefulSet of a database and waits until it answers. The image must be
// loaded and the Secrets must exist.
func (t *Testbed) DeployDatabase(ctx context.Context, d Database) error {
	set := d.statefulSet()
	for _, o := range []client.Object{d.service(), set} {
		if err := t.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("create the database %s: %w", d.Name, err)
		}
	}
	return t.WaitPod(ctx, client.ObjectKey{Namespace: d.Namespace, Name: d.Pod()})
}

func (d Database) service() *corev1.Service {
	port := databasePorts[d.Image]
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": d.Name},
			Ports:    []corev1.ServicePort{{Name: d.Image, Port: port, TargetPort: intstr.FromInt32(port)}},
		},
	}
}

func (d Database) statefulSet() *appsv1.StatefulSet {
	labels := map[string]string{"app": d.Name}
	container := corev1.Container{
		Name: "database", Image: "cairn.local/" + d.Image + ":dev",
		Ports:        []corev1.ContainerPort{{ContainerPort: databasePorts[d.Image]}},
		StartupProbe: d.probe(),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "data", MountPath: "/data"},
			{Name: "auth", MountPath: "/auth", ReadOnly: true},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
	volumes := []corev1.Volume{
		secretVolume("auth", d.Secret),
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if d.TLS != "" {
		volumes = append(volumes, secretVolume("tls", d.TLS))
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: "tls", MountPath: "/tls", ReadOnly: true})
	}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: d.Name,
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken:  new(false),
					TerminationGracePeriodSeconds: ptr.To[int64](5),
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: new(true), RunAsUser: ptr.To[int64](databaseUser),
						RunAsGroup: ptr.To[int64](databaseUser), FSGroup: ptr.To[int64](databaseUser),
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{container},
					Volumes:    volumes,
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources: corev1.VolumeResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
					},
				},
			}},
		},
	}
}

// secretVolume is readable by the server's group alone: PostgreSQL insists on that for its key.
func secretVolume(name, secret string) corev1.Volume {
	return corev1.Volume{
		Name: name,
		VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: ptr.To[int32](0o440)},
		},
	}
}

// probe asks the server whether it takes connections: ports are open before that. It ends once the server does: a
// readiness probe would start a program each second as long as the pod runs.
func (d Database) probe() *corev1.Probe {
	probe := &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 300}
	switch d.Image {
	case "postgresql":
		probe.Exec = &corev1.ExecAction{Command: []string{"pg_isready", "-h", "/tmp", "-q"}}
	case "mariadb":
		probe.Exec = &corev1.ExecAction{
			Command: []string{"mariadb-admin", "--no-defaults", "--socket=/tmp/mysqld.sock", "ping"},
		}
	default:
		probe.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(databasePorts[d.Image])}
	}
	return probe
}
