package moverjob_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/variables"
)

// stepsAddon has a task of three steps with every possible setting.
const stepsAddon = `
metadata: {name: app-addon}
spec:
  backupTasks:
  - name: logical-backup
    singleton: true
    parameters:
    - {name: mode, default: full}
    - {name: exclude}
    steps:
    - name: app.export
      params: [{name: file, value: "${mode}-export"}, {name: mode, value: of-the-step}]
      targetAccess: ReadWrite
    - name: app.check
      targetAccess: None
    - name: pvc-backup
    volumeTemplate:
    - {name: config, usage: "for ${nobody}", source: {configMap: {name: "${targetName}-config"}}}
    - {name: cache, source: {emptyDir: {}}}
    volumeMounts:
    - {name: config, mountPath: /etc/app}
  restoreTasks:
  - name: logical-backup-restore
    steps: [{name: app.clear}, {name: pvc-backup}]
`

const stepsInfo = `
name: app-addon
tasks:
- name: LogicalBackup
  params: {exclude: "*.tmp"}
  variables:
  - {name: REGION, value: eu}
  - {name: PASSWORD, valueFrom: {secretKeyRef: {name: app, key: password}}}
  targetVolumes:
    volumes: [{name: socket, persistentVolumeClaim: {claimName: app-socket}}]
    volumeMounts: [{name: socket, mountPath: /run/app}]
  addonVolumes:
  - {name: cache, source: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
  - {name: "${INTERIM_VOLUME}", source: {emptyDir: {sizeLimit: 1Gi}}}
containerRuntimeSettings:
  resources: {limits: {memory: 1Gi}}
  env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
  securityContext: {runAsUser: 1234}
jobTemplate:
  metadata: {labels: {team: shop, app.kubernetes.io/managed-by: me}, annotations: {note: pod}}
  controller: {labels: {team: shop}, annotations: {note: job}}
  spec:
    priorityClassName: low
    schedulerName: other
    runtimeClassName: gvisor
    imagePullSecrets: [{name: registry}]
    dnsPolicy: Default
    terminationGracePeriodSeconds: 90
    nodeSelector: {disk: ssd}
    affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone}}]}}
    topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
    resources: {requests: {cpu: 100m}}
    env: [{name: HTTPS_PROXY, value: "http://old:3128"}, {name: LANG, value: C}]
    volumes: [{name: ca, secret: {secretName: company-ca}}]
    volumeMounts: [{name: ca, mountPath: /etc/ssl/company, readOnly: true}]
`

func stepFunctions() map[string]*v1alpha1.Function {
	function := func(name string, spec v1alpha1.FunctionSpec) *v1alpha1.Function {
		return &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	}
	return map[string]*v1alpha1.Function{
		"app.export": function("app.export", v1alpha1.FunctionSpec{
			Image: "app:v2", Command: []string{"/app", "export"}, Args: []string{
				"--to=/cairn/volumes/${file}",
				"--mode=${mode}", "--password=$(PASSWORD)", "--region=${REGION}",
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "cache", MountPath: "/var/cache/app"}},
			RuntimeSettings: &v1alpha1.ContainerRuntimeSettings{
				Env: []corev1.EnvVar{{Name: "LANG", Value: "de"}},
				SecurityContext: &corev1.SecurityContext{
					RunAsUser: new(int64(33)), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			},
		}),
		"app.check": function("app.check", v1alpha1.FunctionSpec{Image: "app:v2", Args: []string{"check"}}),
		"app.clear": function("app.clear", v1alpha1.FunctionSpec{Image: "app:v2", Args: []string{"clear"}}),
		"pvc-backup": function("pvc-backup", v1alpha1.FunctionSpec{
			Image: "${moverImage}",
			Args:  []string{"backup", "--exclude=${exclude:=}"},
		}),
	}
}

func resolveSteps(
	t testing.TB, restore bool, change func(*v1alpha1.Addon, map[string]*v1alpha1.Function, *v1alpha1.AddonInfo),
) (v1alpha1.ResolvedTask, map[string]string, *v1alpha1.ResolvedError) {
	t.Helper()
	g := NewWithT(t)
	var addon v1alpha1.Addon
	g.Expect(yaml.UnmarshalStrict([]byte(stepsAddon), &addon)).To(Succeed())
	var info v1alpha1.AddonInfo
	g.Expect(yaml.UnmarshalStrict([]byte(stepsInfo), &info)).To(Succeed())
	if restore {
		info = v1alpha1.AddonInfo{Name: "app-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup-restore"}}}
	}
	functions := stepFunctions()
	if change != nil {
		change(&addon, functions, &info)
	}
	return catalog.Resolve(&addon, func(name string) *v1alpha1.Function { return functions[name] }, info, restore,
		catalog.Variables{
			MoverImage: "example.com/mover:v1", Namespace: "shop", BackupSession: "s",
			TargetKind: "StatefulSet", TargetName: "app",
		})
}

func TestStepsResolve(t *testing.T) {
	g := NewWithT(t)
	got, params, refusal := resolveSteps(t, false, nil)
	g.Expect(refusal).To(BeNil())
	g.Expect(got.Task).To(Equal("logical-backup"), "the older spelling of the name means the same task")
	g.Expect(got.Function).To(Equal("pvc-backup"))
	g.Expect(got.Singleton).To(BeTrue())
	g.Expect(params).To(Equal(map[string]string{"mode": "full", "exclude": "*.tmp"}))
	text, err := yaml.Marshal(got)
	g.Expect(err).NotTo(HaveOccurred())
	golden(t, "resolved task with steps.yaml", text)

	got, _, refusal = resolveSteps(t, true, nil)
	g.Expect(refusal).To(BeNil())
	g.Expect(got.Steps).To(HaveLen(1))
	g.Expect(got.Steps[0].TargetAccess).To(Equal(v1alpha1.TargetAccessReadWrite), "a step of a restore can write")
}

func TestAStepsParametersComeBeforeDefaultsAndAfterThePolicy(t *testing.T) {
	g := NewWithT(t)
	mode := func(change func(*v1alpha1.TaskReference)) string {
		got, _, refusal := resolveSteps(t, false, func(_ *v1alpha1.Addon, _ map[string]*v1alpha1.Function,
			info *v1alpha1.AddonInfo,
		) {
			change(&info.Tasks[0])
		})
		g.Expect(refusal).To(BeNil())
		return strings.Join(got.Steps[0].Container.Args[:2], " ")
	}
	g.Expect(mode(func(*v1alpha1.TaskReference) {})).To(Equal("--to=/cairn/volumes/full-export --mode=of-the-step"))
	g.Expect(mode(func(r *v1alpha1.TaskReference) { r.Params.Raw = []byte(`{"mode":"p"}`) })).
		To(Equal("--to=/cairn/volumes/p-export --mode=p"))
	g.Expect(mode(func(r *v1alpha1.TaskReference) {
		r.Params.Raw = []byte(`{"mode":"p"}`)
		r.Variables = append(r.Variables, corev1.EnvVar{Name: "mode", Value: "v"})
	})).To(Equal("--to=/cairn/volumes/v-export --mode=v"))
}

func TestWhatAPolicyMayNotSayAboutATaskIsRefused(t *testing.T) {
	type (
		addonT     = *v1alpha1.Addon
		functionsT = map[string]*v1alpha1.Function
		infoT      = *v1alpha1.AddonInfo
	)
	for name, tc := range map[string]struct {
		change       func(addonT, functionsT, infoT)
		reason, says string
	}{
		"an unknown variable in a step": {
			func(_ addonT, f functionsT,
				_ infoT,
			) {
				f["app.check"].Spec.Args = []string{"${nobody}"}
			},
			v1alpha1.ReasonInvalidParameters, `Function "app.check": ${nobody} is neither a built-in variable`,
		},
		"an unknown variable in a step's parameter": {
			func(a addonT, _ functionsT,
				_ infoT,
			) {
				a.Spec.BackupTasks[0].Steps[0].Params[0].Value = "${nobody}"
			},
			v1alpha1.ReasonInvalidParameters, `parameter "file" of step "app.export": ${nobody}`,
		},
		"another mover of a step": {
			func(a addonT, _ functionsT, _ infoT) {
				a.Spec.BackupTasks[0].Steps[2].Params = []v1alpha1.StepParam{{Name: "moverImage", Value: "evil"}}
			},
			v1alpha1.ReasonInvalidParameters, "nobody can set",
		},
		"an unknown variable in a volume": {func(a addonT, _ functionsT, _ infoT) {
			a.Spec.BackupTasks[0].VolumeTemplate[0].Source.ConfigMap.Name = "${nobody}"
		}, v1alpha1.ReasonInvalidParameters, "volumeTemplate[0].source.configMap.name: ${nobody}"},
		"a step without a Function": {
			func(_ addonT, f functionsT, _ infoT) { delete(f, "app.check") }, v1alpha1.ReasonFunctionNotFound,
			`no Function "app.check"`,
		},
		"a variable with two values": {
			func(_ addonT, _ functionsT, i infoT) { i.Tasks[0].Variables[1].Value = "x" },
			v1alpha1.ReasonInvalidParameters, "both value and valueFrom",
		},
		"a variable from a Secret in a template": {
			func(_ addonT, f functionsT,
				_ infoT,
			) {
				f["app.check"].Spec.Args = []string{"${PASSWORD}"}
			},
			v1alpha1.ReasonInvalidParameters, "write $(PASSWORD)",
		},
		"another mover": {func(_ addonT, _ functionsT, i infoT) {
			i.Tasks[0].Variables = []corev1.EnvVar{{Name: "moverImage", Value: "evil"}}
		}, v1alpha1.ReasonInvalidParameters, "nobody can set it"},
		"Cairn's environment": {
			func(_ addonT, _ functionsT,
				i infoT,
			) {
				i.ContainerRuntimeSettings.Env[0].Name = "HOME"
			},
			v1alpha1.ReasonInvalidParameters,
			`addon.containerRuntimeSettings.env[0].name: Cairn sets the environment variable "HOME"`,
		},
		"a volume that the task does not have": {
			func(_ addonT, _ functionsT,
				i infoT,
			) {
				i.Tasks[0].AddonVolumes[0].Name = "cash"
			},
			v1alpha1.ReasonInvalidTask,
			`no volume "cash"; it has ${INTERIM_VOLUME}, ${RESTIC_CACHE_VOLUME}, config, cache`,
		},
		"a volume without a source": {
			func(a addonT, _ functionsT,
				_ infoT,
			) {
				a.Spec.BackupTasks[0].VolumeTemplate[0].Source = nil
			},
			v1alpha1.ReasonInvalidTask, `volume "config" has no source`,
		},
		"a volume named like Cairn's": {
			func(_ addonT, _ functionsT,
				i infoT,
			) {
				i.JobTemplate.Spec.Volumes[0].Name = "credentials"
			},
			v1alpha1.ReasonInvalidTask,
			`addon.jobTemplate.spec.volumes[0].name: a volume of Cairn has the name "credentials"`,
		},
		"a mount over the credentials": {
			func(_ addonT, f functionsT, _ infoT) {
				f["app.check"].Spec.VolumeMounts = mountAt("/cairn/credentials/x")
			},
			v1alpha1.ReasonInvalidTask, "lies in /cairn",
		},
		"a mount over the token": {
			func(_ addonT, f functionsT,
				_ infoT,
			) {
				f["pvc-backup"].Spec.VolumeMounts = mountAt("/var/run/secrets")
			},
			v1alpha1.ReasonInvalidTask, "lies in /var/run/secrets",
		},
		"a mount of an unknown volume": {func(_ addonT, f functionsT, _ infoT) {
			f["app.check"].Spec.VolumeMounts = []corev1.VolumeMount{{Name: "nobody", MountPath: "/x"}}
		}, v1alpha1.ReasonInvalidTask, `there is no volume "nobody"`},
		"a mount of Cairn's own volume": {func(_ addonT, f functionsT, _ infoT) {
			f["app.check"].Spec.VolumeMounts = []corev1.VolumeMount{{Name: "credentials", MountPath: "/x"}}
		}, v1alpha1.ReasonInvalidTask, `there is no volume "credentials"`},
		"two mounts at one place": {
			func(_ addonT, f functionsT,
				_ infoT,
			) {
				f["app.check"].Spec.VolumeMounts = mountAt("/etc/app")
			},
			v1alpha1.ReasonInvalidTask, "both mounted at /etc/app",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, _, refusal := resolveSteps(t, false, tc.change)
			g.Expect(refusal).NotTo(BeNil())
			g.Expect(refusal.Reason).To(Equal(tc.reason), refusal.Message)
			g.Expect(refusal.Message).To(ContainSubstring(tc.says))
			g.Expect(got).To(BeZero())
		})
	}
}

func mountAt(path string) []corev1.VolumeMount {
	return []corev1.VolumeMount{{Name: "cache", MountPath: path}}
}

func TestJobsWithStepsAreAsInTheGoldenFiles(t *testing.T) {
	for name, build := range map[string]func(*WithT) (*batchv1.Job, error){
		"backup with steps": func(g *WithT) (*batchv1.Job, error) {
			in := backupInput()
			resolved, _, refusal := resolveSteps(t, false, nil)
			g.Expect(refusal).To(BeNil())
			in.Target.Task = resolved
			return moverjob.BackupJob(in)
		},
		"restore with a step": func(g *WithT) (*batchv1.Job, error) {
			in := restoreInput()
			resolved, _, refusal := resolveSteps(t, true, nil)
			g.Expect(refusal).To(BeNil())
			in.Resolved.Task = resolved
			return moverjob.RestoreJob(in)
		},
		"function": func(*WithT) (*batchv1.Job, error) { return moverjob.FunctionJob(functionInput()) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			job, err := build(g)
			g.Expect(err).NotTo(HaveOccurred())
			got, err := yaml.Marshal(job)
			g.Expect(err).NotTo(HaveOccurred())
			golden(t, name+".yaml", got)
		})
	}
}

func functionInput() moverjob.FunctionJobInput {
	return moverjob.FunctionJobInput{
		Name: "hook-freeze", Namespace: "shop", Labels: map[string]string{"a": "b"},
		Owner: *metav1.NewControllerRef(&metav1.ObjectMeta{Name: "s", UID: "uid-session"},
			v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind)),
		Function: stepFunctions()["app.export"],
		Values:   variables.New(variables.Builtin{}).With(map[string]string{"file": "f", "mode": "m", "REGION": "eu"}),
		Env:      []corev1.EnvVar{{Name: "PASSWORD", Value: "x"}},
		Volumes: []v1alpha1.Volume{
			{Name: "cache", VolumeSource: v1alpha1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		Timeout: time.Minute,
	}
}

func TestOnlyTheMoverSeesCredentialsAndToken(t *testing.T) {
	g := NewWithT(t)
	in := backupInput()
	in.Target.Task, _, _ = resolveSteps(t, false, nil)
	job, err := moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	pod := job.Spec.Template.Spec
	g.Expect(*pod.AutomountServiceAccountToken).To(BeFalse())
	g.Expect(pod.InitContainers).To(HaveLen(2))
	for _, c := range pod.InitContainers {
		for _, m := range c.VolumeMounts {
			g.Expect(m.Name).NotTo(BeElementOf("credentials", "encryption", "token", "task", "storage", "work"), c.Name)
		}
	}
	mounts := map[string]bool{}
	for _, m := range pod.Containers[0].VolumeMounts {
		mounts[m.Name] = true
	}
	g.Expect(mounts).To(And(HaveKey("credentials"), HaveKey("encryption"), HaveKey("token"), HaveKey("task")))

	function, err := moverjob.FunctionJob(functionInput())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*function.Spec.Template.Spec.AutomountServiceAccountToken).To(BeFalse())
	g.Expect(function.Spec.Template.Spec.Volumes).To(HaveExactElements(HaveField("Name", "scratch"),
		HaveField("Name", "cache")))
}

func TestStepsSeeTheTargetAsTheTaskSays(t *testing.T) {
	g := NewWithT(t)
	in := backupInput()
	in.Target.Task, _, _ = resolveSteps(t, false, func(a *v1alpha1.Addon, _ map[string]*v1alpha1.Function,
		_ *v1alpha1.AddonInfo,
	) {
		a.Spec.BackupTasks[0].Steps = []v1alpha1.TaskStep{
			{Name: "app.check", TargetAccess: v1alpha1.TargetAccessReadWrite},
			{Name: "app.check"},
			{Name: "app.check", TargetAccess: v1alpha1.TargetAccessNone},
			{Name: "pvc-backup"},
		}
	})
	job, err := moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	mounts := func(c corev1.Container) map[string]bool {
		out := map[string]bool{}
		for _, m := range c.VolumeMounts {
			if strings.HasPrefix(m.MountPath, task.VolumesDir) {
				out[m.MountPath] = m.ReadOnly
			}
		}
		return out
	}
	pod := job.Spec.Template.Spec
	both := func(readOnly bool) map[string]bool {
		return map[string]bool{task.VolumesDir + "/pod-0-data": readOnly, task.VolumesDir + "/pod-0-logs": readOnly}
	}
	g.Expect(mounts(pod.InitContainers[0])).To(Equal(both(false)))
	g.Expect(mounts(pod.InitContainers[1])).To(Equal(both(true)), "read-only is the default of a backup")
	g.Expect(mounts(pod.InitContainers[2])).To(BeEmpty())
	g.Expect(mounts(pod.Containers[0])).To(Equal(both(true)), "the mover of a backup never writes")
}

func TestPrivilegeOfStepsAndSettings(t *testing.T) {
	security := func(sc corev1.SecurityContext) func(*v1alpha1.Addon, map[string]*v1alpha1.Function,
		*v1alpha1.AddonInfo) {
		return func(_ *v1alpha1.Addon, f map[string]*v1alpha1.Function, _ *v1alpha1.AddonInfo) {
			f["app.check"].Spec.RuntimeSettings = &v1alpha1.ContainerRuntimeSettings{SecurityContext: &sc}
		}
	}
	volume := func(source v1alpha1.VolumeSource) func(*v1alpha1.Addon, map[string]*v1alpha1.Function,
		*v1alpha1.AddonInfo) {
		return func(_ *v1alpha1.Addon, _ map[string]*v1alpha1.Function, info *v1alpha1.AddonInfo) {
			info.Tasks[0].TargetVolumes.Volumes[0].VolumeSource = source
		}
	}
	unmasked := corev1.UnmaskedProcMount
	for name, change := range map[string]func(*v1alpha1.Addon, map[string]*v1alpha1.Function, *v1alpha1.AddonInfo){
		"a privileged step":           security(corev1.SecurityContext{Privileged: new(true)}),
		"a step that may gain rights": security(corev1.SecurityContext{AllowPrivilegeEscalation: new(true)}),
		"a step with a capability": security(
			corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}),
		"a step as root":                    security(corev1.SecurityContext{RunAsUser: new(int64(0))}),
		"a step that is allowed to be root": security(corev1.SecurityContext{RunAsNonRoot: new(false)}),
		"a step without seccomp": security(
			corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}),
		"a step without AppArmor": security(corev1.SecurityContext{
			AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
		}),
		"a step that sees all of proc": security(corev1.SecurityContext{ProcMount: &unmasked}),
		"a step of another SELinux type": security(corev1.SecurityContext{
			SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"},
		}),
		"a host path": volume(v1alpha1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}),
		"a share":     volume(v1alpha1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "n", Path: "/"}}),
		"a mover as root": func(_ *v1alpha1.Addon, _ map[string]*v1alpha1.Function, info *v1alpha1.AddonInfo) {
			info.ContainerRuntimeSettings.SecurityContext.RunAsUser = new(int64(0))
		},
		"a foreign account": func(_ *v1alpha1.Addon, _ map[string]*v1alpha1.Function, info *v1alpha1.AddonInfo) {
			info.JobTemplate.Spec.ServiceAccountName = "admin"
		},
		"a priority class of the system": func(
			_ *v1alpha1.Addon, _ map[string]*v1alpha1.Function, info *v1alpha1.AddonInfo,
		) {
			info.JobTemplate.Spec.PriorityClassName = "system-node-critical"
			info.JobTemplate.Spec.Priority = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := backupInput()
			resolved, _, refusal := resolveSteps(t, false, change)
			g.Expect(refusal).To(BeNil())
			in.Target.Task = resolved
			_, err := moverjob.BackupJob(in)
			g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
			in.Privileged = true
			_, err = moverjob.BackupJob(in)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
	g := NewWithT(t)
	in := functionInput()
	in.Pod = &v1alpha1.PodRuntimeSettings{PriorityClassName: "system-node-critical"}
	_, err := moverjob.FunctionJob(in)
	g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
	in.Pod = nil
	in.Settings = &v1alpha1.ContainerRuntimeSettings{SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(0))}}
	_, err = moverjob.FunctionJob(in)
	g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
	in.Privileged = true
	job, err := moverjob.FunctionJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*job.Spec.Template.Spec.Containers[0].SecurityContext.RunAsNonRoot).To(BeFalse())
}

func TestPodSettingsOfAFunction(t *testing.T) {
	g := NewWithT(t)
	in := functionInput()
	in.Variables = []corev1.EnvVar{{Name: "PASSWORD", Value: "last"}}
	in.Settings = &v1alpha1.ContainerRuntimeSettings{Env: []corev1.EnvVar{
		{Name: "PASSWORD", Value: "second"},
		{Name: "LANG", Value: "fr"},
	}}
	in.Pod = &v1alpha1.PodRuntimeSettings{
		SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: new(int64(1000)), SupplementalGroups: []int64{2000}},
		NodeSelector:    map[string]string{"disk": "ssd"}, NodeName: "n1",
		PodLabels: map[string]string{"team": "db", "a": "mine"}, PodAnnotations: map[string]string{"note": "x"},
	}
	job, err := moverjob.FunctionJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	template := job.Spec.Template
	g.Expect(template.Labels).To(Equal(map[string]string{
		"a": "b", "team": "db",
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
	}))
	g.Expect(template.Annotations).To(Equal(map[string]string{"note": "x"}))
	g.Expect(*template.Spec.SecurityContext.RunAsUser).To(Equal(int64(1000)))
	g.Expect(template.Spec.SecurityContext.SupplementalGroups).To(Equal([]int64{2000}))
	g.Expect(template.Spec.NodeSelector).To(Equal(map[string]string{"disk": "ssd"}))
	g.Expect(template.Spec.Affinity.NodeAffinity).NotTo(BeNil(), "the scheduler places the pod on the node")
	g.Expect(template.Spec.Containers[0].Env).To(ContainElements(
		corev1.EnvVar{Name: "PASSWORD", Value: "last"}, corev1.EnvVar{Name: "LANG", Value: "fr"}))
	for name, change := range map[string]func(*v1alpha1.PodRuntimeSettings){
		"root": func(p *v1alpha1.PodRuntimeSettings) { p.SecurityContext.RunAsUser = new(int64(0)) },
		"another SELinux type": func(p *v1alpha1.PodRuntimeSettings) {
			p.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"}
		},
		"a foreign account": func(p *v1alpha1.PodRuntimeSettings) { p.ServiceAccountName = "admin" },
	} {
		in := in
		in.Pod = in.Pod.DeepCopy()
		change(in.Pod)
		_, err := moverjob.FunctionJob(in)
		g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired), name)
		in.Privileged = true
		_, err = moverjob.FunctionJob(in)
		g.Expect(err).NotTo(HaveOccurred(), name)
	}
}
