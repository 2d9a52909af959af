package variables_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

func builtin() variables.Builtin {
	return variables.Builtin{
		MoverImage: "registry.example:5000/cairn/mover:v1", Namespace: "shop", BackupSession: "shop-1",
		TargetKind: v1alpha1.KindPersistentVolumeClaim, TargetName: "uploads", TaskName: "logical-backup",
	}
}

func TestExpand(t *testing.T) {
	values := variables.New(builtin()).With(map[string]string{"paths": "/a", "exclude": "", "namespace": "other"}).
		WithEnv([]corev1.EnvVar{{Name: "paths", Value: "/b"}, {Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{}}})
	for text, want := range map[string]string{
		"":                               "",
		"plain $5 }{ $x":                 "plain $5 }{ $x",
		"${namespace}":                   "other",
		"${paths}":                       "/b",
		"-${backupSession}-":             "-shop-1-",
		"${exclude}|":                    "|",
		"${exclude:=x}":                  "x",
		"${exclude:-x}":                  "x",
		"${exclude=x}":                   "",
		"${unset:=x}":                    "x",
		"${unset:-x y}":                  "x y",
		"${unset=x}":                     "x",
		"${unset:=}":                     "",
		"${restoreSession:=none}":        "none",
		"${licenseApiService:=}":         "",
		"${unset:=a=b:=c}":               "a=b:=c",
		"${PVC_NAME}":                    "uploads",
		"${taskName}":                    "logical-backup",
		"${imageRegistry}/${imageRepo}":  "registry.example:5000/cairn/mover",
		"${imageTag}":                    "v1",
		"${enableCache}":                 "false",
		"${interimDataDir}":              "/cairn/scratch",
		"${INTERIM_VOLUME}":              "scratch",
		"${RESTIC_CACHE_VOLUME}":         "work",
		"${targetKind}/${targetName}${}": "!",
		"${unset}":                       "!",
		"${restoreSession}":              "!",
		"${DB_VERSION}":                  "!",
		"${namespace":                    "!",
		"${:=x}":                         "!",
		"${namespace%x}":                 "!",
		"${#namespace}":                  "!",
		"${TOKEN}":                       "!",
		"${TOKEN:=x}":                    "!",
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			got, err := values.Expand(text)
			if want == "!" {
				g.Expect(err).To(HaveOccurred())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
		})
	}
}

// In a text for a shell, $${name} stands for a variable of the shell, and an unknown ${name} is an error.
func TestExpandForAShell(t *testing.T) {
	values := func(name string) (string, error) {
		switch name {
		case "user":
			return "root", nil
		case "empty":
			return "", nil
		case "later":
			return "", &variables.Missing{Known: true, Says: "is not known here"}
		default:
			return "", &variables.Missing{Says: "is unknown"}
		}
	}
	for _, tt := range []struct{ text, shell, plain string }{
		{"$${user} $$${user}", "${user} $${user}", "$root $$root"},
		{"$user ${user}", "$user root", "$user root"},
		{"${empty:=x}${empty=x}", "x", "x"},
		{"${later:-x}", "x", "x"},
		{"${later}", "! ${later} is not known here", "! ${later} is not known here"},
		{"${HOME:=x}", "! ${HOME} is unknown; write $${HOME} for a variable of the shell", "x"},
		{"${HOME}", "! ${HOME} is unknown; write $${HOME} for a variable of the shell", "! ${HOME} is unknown"},
		{
			"${HOME%/*}",
			"! invalid variable ${HOME%/*}, want ${name}, ${name:=default}, ${name:-default} or ${name=default}; " +
				"write $${HOME%/*} for a variable of the shell",
			"! invalid variable ${HOME%/*}, want ${name}, ${name:=default}, ${name:-default} or ${name=default}",
		},
	} {
		t.Run(tt.text, func(t *testing.T) {
			for want, e := range map[string]variables.Expander{
				"shell " + tt.shell: {Value: values, Shell: true}, "plain " + tt.plain: {Value: values},
			} {
				got, err := e.Expand(tt.text)
				if err != nil {
					got = "! " + err.Error()
				}
				_, want, _ := strings.Cut(want, " ")
				NewWithT(t).Expect(got).To(Equal(want))
			}
		})
	}
}

func TestEveryVariableOfTheDocumentationIsKnown(t *testing.T) {
	g := NewWithT(t)
	g.Expect(variables.Names()).To(ContainElements(
		"namespace", "backupSession", "restoreSession", "backupVerificationSession", "snapshot", "invokerKind",
		"invokerName",
		"imageRegistry", "imageRepo", "imageTag", "enableCache", "interimDataDir", "licenseApiService", "taskName",
		"PVC_NAME",
		"DB_VERSION", "RESTIC_CACHE_VOLUME", "INTERIM_VOLUME", "moverImage"))
	for _, name := range variables.Names() {
		got, err := variables.New(variables.Builtin{}).Expand("${" + name + ":=x}")
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(got).NotTo(BeEmpty(), name)
	}
}

func TestImagesAreTakenApart(t *testing.T) {
	for image, want := range map[string]string{
		"mover":                              "|mover|",
		"cairn/mover:v1":                     "|cairn/mover|v1",
		"localhost/mover:v1":                 "localhost|mover|v1",
		"ghcr.io/cairn/mover:v1@sha256:abcd": "ghcr.io|cairn/mover|v1",
		"ghcr.io:443/cairn/mover@sha256:abc": "ghcr.io:443|cairn/mover|",
	} {
		g := NewWithT(t)
		got, err := variables.New(variables.Builtin{MoverImage: image}).
			Expand("${imageRegistry:=}|${imageRepo}|${imageTag:=}")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(want))
	}
}

func TestPickVersion(t *testing.T) {
	available := []string{"8.0.3", "5.7.25", "8.0.21", "10.1", "9.1.0"}
	for database, want := range map[string]string{
		"8.0.21": "8.0.21", // The same version.
		"8.0.35": "8.0.21", // Not newer, with the same major version.
		"8.0.2":  "8.0.3",  // Nothing older with the major version: the next newer.
		"7.0":    "8.0.3",
		"5.6":    "5.7.25",
		"11.0.0": "10.1", // Nothing newer: the closest.
		"v9.2":   "9.1.0",
		"latest": "!",
	} {
		t.Run(database, func(t *testing.T) {
			g := NewWithT(t)
			got, err := variables.PickVersion(database, available)
			if want == "!" {
				g.Expect(err).To(HaveOccurred())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
		})
	}
	_, err := variables.PickVersion("8.0", nil)
	NewWithT(t).Expect(err).To(HaveOccurred())
}

func TestAFunctionsContainer(t *testing.T) {
	g := NewWithT(t)
	f := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Name: "f"}, Spec: v1alpha1.FunctionSpec{
		Image: "mariadb:${DB_VERSION}", Command: []string{"dump", "$(PASSWORD)"}, Args: []string{"--only=${only}"},
		WorkingDir: "${dir}",
		Ports:      []corev1.ContainerPort{{Name: "${port:=http}", ContainerPort: 80}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "${INTERIM_VOLUME}", MountPath: "/data/${only}", SubPath: "${only}"},
		},
		VolumeDevices: []corev1.VolumeDevice{{Name: "raw", DevicePath: "/dev/${port:=xvda}"}},
		RuntimeSettings: &v1alpha1.ContainerRuntimeSettings{
			Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
			},
			Env: []corev1.EnvVar{
				{Name: "A", Value: "${only} $(PASSWORD)"},
				{
					Name: "B",
					ValueFrom: &corev1.EnvVarSource{
						SecretKeyRef: &corev1.SecretKeySelector{
							LocalObjectReference: corev1.LocalObjectReference{Name: "${dir}"}, Key: "k",
						},
					},
				},
			},
			EnvFrom: []corev1.EnvFromSource{{Prefix: "${only}"}},
		},
		AvailableVersions: []string{"10.11", "11.4"},
	}}
	before := f.DeepCopy()
	values := variables.New(builtin()).With(map[string]string{
		"only": "a$(HOME)${namespace}\"\n", "dir": "d",
		"DB_VERSION": "10.11.6",
	})
	c, err := variables.FunctionContainer(f, values)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f).To(Equal(before), "the Function itself stays as it is")
	g.Expect(c.Image).To(Equal("mariadb:10.11"))
	g.Expect(c.Command).To(Equal([]string{"dump", "$(PASSWORD)"}), "the kubelet expands the Function's own $(name)")
	g.Expect(c.Args).To(Equal([]string{"--only=a$$(HOME)$${namespace}\"\n"}), "a value's $(name) stays text")
	g.Expect(c.Env[0].Value).To(Equal("a$$(HOME)$${namespace}\"\n $(PASSWORD)"))
	g.Expect(c.Env[1].ValueFrom.SecretKeyRef.Name).To(Equal("d"))
	g.Expect(c.EnvFrom[0].Prefix).To(Equal("a$(HOME)${namespace}\"\n"))
	g.Expect(c.WorkingDir).To(Equal("d"))
	g.Expect(c.Ports[0].Name).To(Equal("http"))
	g.Expect(c.VolumeMounts[0].Name).To(Equal("scratch"))
	g.Expect(c.VolumeMounts[0].MountPath).To(Equal("/data/a$(HOME)${namespace}\"\n"))
	g.Expect(c.VolumeDevices[0].DevicePath).To(Equal("/dev/xvda"))
	g.Expect(c.Resources.Limits.Memory().String()).To(Equal("1Gi"))

	f.Spec.VolumeMounts[0].SubPath = "${nobody}"
	_, err = variables.FunctionContainer(f, values)
	g.Expect(err).To(MatchError(ContainSubstring(`Function "f": volumeMounts[0].subPath: ${nobody} is neither`)))
	f.Spec.VolumeMounts = nil
	_, err = variables.FunctionContainer(f, variables.New(builtin()).With(map[string]string{"only": "", "dir": ""}))
	g.Expect(err).To(MatchError(ContainSubstring("${DB_VERSION} has no value here")))
}
