package database_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/database"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", Ports: []corev1.ServicePort{
				{Name: "pg", Port: 5432, TargetPort: intstr.FromString("postgres")},
			},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func slice(pods ...string) []discoveryv1.EndpointSlice {
	s := discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: new("pg"), Port: new(int32(15432))}}}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{"10.1.0.1"},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: p},
		})
	}
	return []discoveryv1.EndpointSlice{s}
}

func pod(name, image, imageID string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec: corev1.PodSpec{
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
			Containers: []corev1.Container{
				{
					Name: "metrics", Image: "example.com/exporter:v1", Ports: []corev1.ContainerPort{
						{Name: "metrics", ContainerPort: 9187},
					},
				},
				{
					Name: "postgres", Image: image, Ports: []corev1.ContainerPort{
						{Name: "postgres", ContainerPort: 15432},
					},
				},
			},
		},
		Status: corev1.PodStatus{
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "metrics", ImageID: "x"}, {Name: "postgres", ImageID: imageID},
			},
		},
	}
}

func TestLocate(t *testing.T) {
	notReady := slice("db-0")
	notReady[0].Endpoints[0].Conditions.Ready = new(false)
	external := service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP = corev1.ServiceTypeExternalName, "pg.example.com", ""
	})
	two := service(func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: "metrics", Port: 9187,
			TargetPort: intstr.FromInt32(9187),
		})
	})
	running := []corev1.Pod{pod("db-0", "postgres:16.4-bookworm", "docker.io/library/postgres@"+digest)}
	for name, tc := range map[string]struct {
		binding database.Binding
		around  database.Surroundings
		want    database.Location
		reason  string
		says    string
	}{
		"the image that runs, by its digest": {
			binding: database.OfService("db"), around: database.Surroundings{
				Service: service(), Slices: slice("db-0"),
				Pods: running,
			},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "docker.io/library/postgres@" +
					digest, Version: "16.4", PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"a headless Service translates no port": {
			binding: database.OfService("db"),
			around: database.Surroundings{
				Service: service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), Slices: slice("db-0"),
				Pods: running,
			},
			want: database.Location{
				Host: "db.shop.svc", Port: "15432", Image: "docker.io/library/postgres@" +
					digest, Version: "16.4", PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"an image that no registry has": {
			binding: database.OfService("db"),
			around: database.Surroundings{
				Service: service(), Slices: slice("db-0"),
				Pods: []corev1.Pod{pod("db-0", "localhost/postgres:17", digest)},
			},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "localhost/postgres:17", Version: "17",
				PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"an image under another name": {
			binding: database.OfService("db"),
			around: database.Surroundings{
				Service: service(), Slices: slice("db-0"),
				Pods: []corev1.Pod{pod("db-0", "example.com:5000/postgres", "docker.io/import@"+digest)},
			},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "example.com:5000/postgres",
				PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"the first pod by name, whatever the order": {
			binding: database.OfService("db"),
			around: database.Surroundings{
				Service: service(), Slices: slice("db-1", "db-0"), Pods: []corev1.Pod{
					pod("db-1", "postgres:1", ""),
					pod("db-0", "postgres:2", ""),
				},
			},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "postgres:2", Version: "2",
				PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"an image that policy names": {
			binding: database.OfService("db").With(map[string]string{"image": "example.com/pg:v15.2"}),
			around:  database.Surroundings{Service: service(), Slices: slice("gone")},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "example.com/pg:v15.2", Version: "15.2",
			},
		},
		"one port of several": {
			binding: database.OfService("db").With(map[string]string{"port": "pg"}),
			around:  database.Surroundings{Service: two, Slices: slice("db-0"), Pods: running},
			want: database.Location{
				Host: "db.shop.svc", Port: "5432", Image: "docker.io/library/postgres@" +
					digest, Version: "16.4", PullSecrets: []corev1.LocalObjectReference{
					{Name: "registry"},
				},
			},
		},
		"a database elsewhere": {
			binding: database.OfService("db").With(map[string]string{"image": "pg"}),
			around:  database.Surroundings{Service: external},
			want:    database.Location{Host: "pg.example.com", Port: "5432", Image: "pg"},
		},
		"no Service": {
			binding: database.OfService("db"), reason: v1alpha1.ReasonTargetNotFound, says: "no Service db",
		},
		"no endpoint": {
			binding: database.OfService("db"), around: database.Surroundings{Service: service()},
			reason: v1alpha1.ReasonTargetNotReady, says: "no endpoint that is ready",
		},
		"no endpoint is ready": {
			binding: database.OfService("db"), around: database.Surroundings{
				Service: service(), Slices: notReady,
				Pods: running,
			}, reason: v1alpha1.ReasonTargetNotReady, says: "no endpoint that is ready",
		},
		"several ports": {
			binding: database.OfService("db"), around: database.Surroundings{Service: two},
			reason: v1alpha1.ReasonTargetUnknown, says: "has the ports pg, metrics",
		},
		"no pod": {
			binding: database.OfService("db"), around: database.Surroundings{Service: service(), Slices: slice("gone")},
			reason: v1alpha1.ReasonTargetUnknown, says: "parameter image",
		},
		"elsewhere, no image": {
			binding: database.OfService("db"), around: database.Surroundings{Service: external},
			reason: v1alpha1.ReasonTargetUnknown, says: "parameter image",
		},
		"elsewhere, no port": {
			binding: database.Binding{Host: "pg.example.com"}, reason: v1alpha1.ReasonTargetUnknown,
			says: "parameter port",
		},
		"a host like an option": {
			binding: database.Binding{Host: "-h", Port: "1", Image: "x"}, reason: v1alpha1.ReasonTargetUnknown,
			says: "not a valid host name",
		},
		"a pod that declares no port": {
			binding: database.OfService("db"),
			around: database.Surroundings{
				Service: service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(1) }),
				Slices:  other(), Pods: running,
			},
			reason: v1alpha1.ReasonTargetUnknown, says: "declares port 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tc.around.Namespace = "shop"
			got, refusal := database.Locate(tc.binding, tc.around)
			if tc.reason != "" {
				g.Expect(refusal).To(HaveField("Reason", tc.reason))
				g.Expect(refusal.Message).To(ContainSubstring(tc.says))
				return
			}
			g.Expect(refusal).To(BeNil())
			got.Pod, got.Container = nil, nil // TestTheServer checks these fields.
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

// A program that reads the files of the server must know which pod that server runs in.
func TestTheServer(t *testing.T) {
	both := slice("db-0", "db-1")
	both[0].Endpoints[1].Conditions.Ready = new(false)
	dual := append(slice("db-0"), slice("db-0")...)
	dual[1].Endpoints[0].Addresses = []string{"2001:db8::1"}
	image := map[string]string{"image": "example.com/pg:v15.2"}
	for name, tc := range map[string]struct {
		params map[string]string
		slices []discoveryv1.EndpointSlice
		known  bool
	}{
		"one pod":                           {slices: slice("db-0"), known: true},
		"one pod, and an image from policy": {params: image, slices: slice("db-0"), known: true},
		"one pod with two addresses":        {slices: dual, known: true},
		"another that is not ready yet":     {slices: both},
		"two pods":                          {slices: slice("db-0", "db-1")},
		"a pod that is gone":                {params: image, slices: slice("gone")},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pods := []corev1.Pod{pod("db-1", "postgres:1", ""), pod("db-0", "postgres:2", "")}
			got, refusal := database.Locate(database.OfService("db").With(tc.params),
				database.Surroundings{Service: service(), Slices: tc.slices, Pods: pods})
			g.Expect(refusal).To(BeNil())
			if !tc.known {
				g.Expect(got.Pod).To(BeNil())
				g.Expect(got.Container).To(BeNil())
				return
			}
			g.Expect(got.Pod.Name).To(Equal("db-0"))
			g.Expect(got.Container.Name).To(Equal("postgres"))
		})
	}
}

// other returns endpoints on a port that no container declares.
func other() []discoveryv1.EndpointSlice {
	s := slice("db-0")
	s[0].Ports[0].Port = new(int32(1))
	return s
}

func TestBindings(t *testing.T) {
	for name, tc := range map[string]struct {
		manifest string
		params   map[string]string
		want     database.Binding
		says     string
	}{
		"an AppBinding of a Service": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {type: kubedb.com/postgres, version: "16.1", clientConfig: {service: {name: pg, port: 5432}, caBundle: Zm9v}, secret: {name: pg-auth}, tlsSecret: {name: pg-tls}}}`,
			want: database.Binding{
				Service: "pg", Port: "5432", Secret: "pg-auth", TLSSecret: "pg-tls", Version: "16.1",
			},
		},
		"an AppBinding of a URL": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {url: "postgresql://pg.example.com:5433/shop"}, secret: {name: pg-auth}}}`,
			want:     database.Binding{Host: "pg.example.com", Port: "5433", Secret: "pg-auth"},
		},
		"an AppBinding that renames keys": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {service: {name: pg}}, secret: {name: a}, secretTransforms: [{renameKey: {from: U, to: username}}, {renameKey: {from: P, to: password}}]}}`,
			want:     database.Binding{Service: "pg", Secret: "a", UsernameKey: "U", PasswordKey: "P"},
		},
		"an AppBinding that changes its Secret": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {service: {name: pg}}, secret: {name: a}, secretTransforms: [{addKey: {key: username, value: Zm9v}}]}}`, says: "parameter secretName",
		},
		"an AppBinding that policy overrides": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {service: {name: pg}, caBundle: Zm9v}, secret: {name: a}, secretTransforms: [{removeKey: {key: x}}]}}`,
			params:   map[string]string{"secretName": "mine", "tlsSecretName": "ca"},
			want:     database.Binding{Service: "pg", Secret: "mine", TLSSecret: "ca"},
		},
		"an AppBinding with a certificate that can't be mounted": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {service: {name: pg}, caBundle: Zm9v}, secret: {name: a}}}`, says: "parameter tlsSecretName",
		},
		"an AppBinding with a Service of another namespace": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {service: {name: pg, namespace: other}}}}`, says: "back the database up from that namespace",
		},
		"an AppBinding without an address": {
			manifest: `{apiVersion: x/v1, kind: AppBinding, spec: {clientConfig: {url: "pass word@x"}}}`,
			says:     "set clientConfig.service",
		},
		"a Cluster with a superuser": {
			manifest: `{apiVersion: x/v1, kind: Cluster, spec: {enableSuperuserAccess: true}, status: {writeService: pg-rw, certificates: {serverCASecret: own-ca}}}`,
			want:     database.Binding{Service: "pg-rw", Secret: "x-superuser", TLSSecret: "own-ca"},
		},
		"a Cluster without one": {
			manifest: `{apiVersion: x/v1, kind: Cluster, spec: {bootstrap: {initdb: {database: shop}}}}`,
			want:     database.Binding{Service: "x-rw", Secret: "x-app", TLSSecret: "x-ca", Database: "shop"},
		},
		"a Cluster that was recovered": {
			manifest: `{apiVersion: x/v1, kind: Cluster, spec: {bootstrap: {recovery: {database: orders, secret: {name: s}}}}}`,
			want:     database.Binding{Service: "x-rw", Secret: "s", TLSSecret: "x-ca", Database: "orders"},
		},
		"a Cluster that was copied": {
			manifest: `{apiVersion: x/v1, kind: Cluster, spec: {bootstrap: {pg_basebackup: {database: orders}}}}`,
			want:     database.Binding{Service: "x-rw", Secret: "x-app", TLSSecret: "x-ca", Database: "orders"},
		},
		"a bare Cluster": {
			manifest: `{apiVersion: x/v1, kind: Cluster, spec: {}}`, want: database.Binding{
				Service: "x-rw", Secret: "x-app", TLSSecret: "x-ca", Database: "app",
			},
		},
		"a Secret of a Service": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: servicebinding.io/mysql, stringData: {host: db.shop.svc.cluster.local, port: "3306", username: u, password: p, database: shop}}`,
			want:     database.Binding{Service: "db", Port: "3306", Secret: "x", Database: "shop"},
		},
		"a Secret of a host elsewhere": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: servicebinding.io/mysql, stringData: {host: db.other.svc, port: "3306"}}`,
			want:     database.Binding{Host: "db.other.svc", Port: "3306", Secret: "x"},
		},
		"a Secret of an address": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: servicebinding.io/mysql, stringData: {host: "10.0.0.1", port: "3306"}}`,
			want:     database.Binding{Host: "10.0.0.1", Port: "3306", Secret: "x"},
		},
		"a Secret of another type": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: Opaque, stringData: {host: db}}`,
			says:     "name the Service of the database as the target",
		},
		"a Secret without a host": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: servicebinding.io/x}`, says: "no host",
		},
		"a Secret whose host is a word": {
			manifest: `{apiVersion: x/v1, kind: Secret, type: servicebinding.io/x, stringData: {host: "-o x"}}`,
			says:     "no host",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			u := &unstructured.Unstructured{}
			text, err := yaml.YAMLToJSON([]byte(tc.manifest))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(u.UnmarshalJSON(text)).To(Succeed())
			u.SetName("x")
			u.SetNamespace("shop")
			var got database.Binding
			var refusal *v1alpha1.ResolvedError
			switch u.GetKind() {
			case v1alpha1.KindAppBinding:
				got, refusal = database.OfAppBinding(u, tc.params)
			case v1alpha1.KindCluster:
				got, refusal = database.OfCluster(u)
			default:
				s := &corev1.Secret{}
				g.Expect(yaml.Unmarshal([]byte(tc.manifest), s)).To(Succeed())
				s.Name, s.Namespace, s.Data = "x", "shop", map[string][]byte{}
				for key, value := range s.StringData {
					s.Data[key] = []byte(value)
				}
				got, refusal = database.OfSecret(s)
			}
			if tc.says != "" {
				g.Expect(refusal).To(HaveField("Message", ContainSubstring(tc.says)))
				g.Expect(refusal.Message).NotTo(ContainSubstring("word@"), "an address can hold a password")
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(got.With(tc.params)).To(Equal(tc.want))
		})
	}
}

func TestTypeOf(t *testing.T) {
	secret := func(kind, inside string) *corev1.Secret {
		return &corev1.Secret{Type: corev1.SecretType(kind), Data: map[string][]byte{"type": []byte(inside)}}
	}
	binding := func(kind, databaseType string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": kind,
			"spec": map[string]any{"type": databaseType},
		}}
	}
	for name, tc := range map[string]struct {
		object runtime.Object
		want   string
	}{
		"a Secret by its type": {
			secret("servicebinding.io/postgresql", "mysql"), "servicebinding.io/postgresql",
		},
		"a Secret by its key": {secret("servicebinding.io/crunchy", "postgresql"), "postgresql"},
		"an unknown type in a Secret is left out": {
			secret("servicebinding.io/other", "a password"), "servicebinding.io/other",
		},
		"a Secret of no binding":                {secret("Opaque", "mysql"), ""},
		"an AppBinding":                         {binding("AppBinding", "kubedb.com/mariadb"), "kubedb.com/mariadb"},
		"an AppBinding without a type":          {binding("AppBinding", ""), ""},
		"a Cluster, whose kind says everything": {binding("Cluster", "x"), ""},
		"a Service":                             {service(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(database.TypeOf(tc.object)).To(Equal(tc.want))
		})
	}
}
