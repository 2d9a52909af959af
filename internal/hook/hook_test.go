package hook_test

import (
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

var builtin = hook.Builtin{
	"namespace": "shop", "backupSession": "run", "restoreSession": "", "invokerKind": "BackupConfiguration",
	"invokerName": "db",
	"session":     "nightly", "targetKind": "StatefulSet", "targetName": "db",
}

var summary = hook.Summary{
	Name: "run", Namespace: "shop", Session: "nightly",
	Invoker: hook.Object{APIGroup: v1alpha1.Group, Kind: "BackupConfiguration", Namespace: "shop", Name: "db"},
	Target:  hook.Object{APIGroup: "apps", Kind: "StatefulSet", Namespace: "shop", Name: "db"},
	Status:  hook.Status{Phase: "Failed", Duration: "41s", Error: `no "space" ${TOKEN} {{.Name}}`},
}

func command(args ...string) *v1alpha1.HookTemplate {
	return &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hooks", Name: "t"},
		Spec: v1alpha1.HookTemplateSpec{
			Action:   &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{Command: args}},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorPod},
		},
	}
}

func post(body string) *v1alpha1.HookTemplate {
	t := command()
	t.Spec.Action = &v1alpha1.HookAction{HTTPPost: &v1alpha1.HookHTTPPostAction{
		HookHTTPGetAction: v1alpha1.HookHTTPGetAction{Host: "example.com", Port: intstr.FromInt32(80)}, Body: body,
	}}
	t.Spec.Executor.Type = v1alpha1.HookExecutorOperator
	return t
}

func info(params string, variables ...v1alpha1.HookVariable) *v1alpha1.HookInfo {
	out := &v1alpha1.HookInfo{Name: "h", HookTemplate: &v1alpha1.ObjectReference{Name: "t"}, Variables: variables}
	if params != "" {
		out.Params = &apiextensionsv1.JSON{Raw: []byte(params)}
	}
	return out
}

func fromSecret(name string) v1alpha1.HookVariable {
	return v1alpha1.HookVariable{
		Name: name, ValueFrom: &v1alpha1.HookVariableSource{SecretKeyRef: &v1alpha1.KeySelector{Name: "s", Key: "k"}},
	}
}

func TestACommandIsFilledInArgumentByArgument(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		params string
		want   []string
	}{
		"nothing to fill in": {args: []string{"sync"}, want: []string{"sync"}},
		"a parameter, its default and a variable": {
			args: []string{"a=${given}", "${defaulted}", "${v}-${v}"}, params: `{"given":"x y"}`, want: []string{
				"a=x y", "d", "V-V",
			},
		},
		"built-in variables": {
			args: []string{"${namespace}/${targetKind}/${targetName}/${session}/${invokerName}/${backupSession}"},
			want: []string{"shop/StatefulSet/db/nightly/db/run"},
		},
		"defaults": {args: []string{"${empty:=e}${empty:-f}${restoreSession:-none}"}, want: []string{"efnone"}},
		"a shell's own variable": {
			args: []string{"sh", "-c", "echo $HOME $${HOME}"}, want: []string{"sh", "-c", "echo $HOME ${HOME}"},
		},
		"a value that looks like a variable": {
			args: []string{"${given}"}, params: `{"given":"${v}"}`, want: []string{"${v}"},
		},
		"a value that looks like a template": {
			args: []string{"${given}"}, params: `{"given":"{{.Name}}"}`, want: []string{"{{.Name}}"},
		},
		"a value in a template is not parsed": {
			args: []string{"{{.Name}} ${given}"}, params: `{"given":"{{.Name}}"}`, want: []string{"run {{.Name}}"},
		},
		"a value inside a template's string": {
			args: []string{`{{toJson "${given}"}}`}, params: `{"given":"a\"b"}`, want: []string{`"a\"b"`},
		},
		"a template over the run": {
			args: []string{`{{ printf "%s/%s" .Namespace .Target.Name }} {{.Status.Phase}}`},
			want: []string{"shop/db Failed"},
		},
		"an error message is not parsed again": {
			args: []string{"{{.Status.Error}}"}, want: []string{`no "space" ${TOKEN} {{.Name}}`},
		},
		"the output of a template is trimmed": {args: []string{"\n {{.Name}} \n"}, want: []string{"run"}},
		"an argument with newlines and quotes": {
			args: []string{"${given}"}, params: `{"given":"a\n'; rm -rf /"}`, want: []string{"a\n'; rm -rf /"},
		},
		"a range and a condition of the summary": {
			args: []string{`{{if eq .Status.Phase "Failed"}}{{range list "a" "b"}}{{.}}{{end}}{{else}}ok{{end}}`},
			want: []string{"ab"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			template := command(tt.args...)
			template.Spec.Params = []v1alpha1.Parameter{
				{Name: "given"}, {Name: "defaulted", Default: "d"}, {Name: "empty"},
			}
			h, mistakes := hook.Resolve(
				info(tt.params, v1alpha1.HookVariable{Name: "v", Value: "V"}), template, builtin, hook.Container{})
			g.Expect(mistakes).To(BeEmpty())
			template.Spec.Action.Exec.Command = []string{"changed", "since"}
			got, err := hook.Render(&h, nil, summary)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Action.Exec.Command).To(Equal(tt.want))
		})
	}
}

func TestABodyIsATemplateWithSecretsThatAreReadLater(t *testing.T) {
	g := NewWithT(t)
	// The shape of KubeStash's samples.
	template := post(
		`{{ $msg := dict "type" "mrkdwn" "text" (printf "%s %s/%s: %s" .Status.Phase .Namespace .Target.Name .Status.Error) }}
{"token": "${TOKEN}", "quoted": {{ toJson "${TOKEN}" }}, "blocks": [{"type": "section", "text": {{ toJson $msg }}}]}`)
	h, mistakes := hook.Resolve(info("", fromSecret("TOKEN")), template, builtin, hook.Container{})
	g.Expect(mistakes).To(BeEmpty())
	frozen, err := json.Marshal(h)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(frozen)).To(ContainSubstring("secretKeyRef"))

	got, err := hook.Render(&h, map[string]string{"TOKEN": "geheim"}, summary)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Action.HTTPPost.Body).
		To(MatchJSON(`{"token":"geheim","quoted":"geheim","blocks":[{"type":"section","text":
		{"type":"mrkdwn","text":"Failed shop/db: no \"space\" ${TOKEN} {{.Name}}"}}]}`))
	g.Expect(string(frozen)).NotTo(ContainSubstring("geheim"))
}

func TestMistakesAreFoundBeforeAnythingRuns(t *testing.T) {
	required := command("${user}")
	required.Spec.Params = []v1alpha1.Parameter{{Name: "user", Required: true}}
	named := post("")
	named.Spec.Action.HTTPPost.Port = intstr.FromString("http")
	selector := command("x")
	selector.Spec.Executor.Pod = &v1alpha1.HookPodExecutor{Selector: "app=db, tier"}
	builtinParam := command("x")
	builtinParam.Spec.Params = []v1alpha1.Parameter{{Name: "namespace"}}
	for name, tt := range map[string]struct {
		info     *v1alpha1.HookInfo
		template *v1alpha1.HookTemplate
		field    string
		says     string
	}{
		"a parameter is missing": {info(""), required, "params", `the HookTemplate "t" needs the parameter "user"`},
		"a parameter is empty":   {info(`{"user":""}`), required, "params", `needs the parameter "user"`},
		"a parameter is not declared": {
			info(`{"user":"u","pass":"p"}`), required, "params.pass",
			`has no parameter "pass"; it has: user`,
		},
		"a parameter is a number": {info(`{"user":1}`), required, "params.user", "put it in quotes"},
		"a variable takes a name": {
			info(`{"user":"u"}`, v1alpha1.HookVariable{Name: "user"}), required, "variables[0].name", "is taken",
		},
		"a variable is built in": {
			info("", v1alpha1.HookVariable{Name: "session"}), command("x"), "variables[0].name", "built-in",
		},
		"a parameter is built in": {info(""), builtinParam, "hookTemplate", "built-in"},
		"an unknown name": {
			info(""), command("echo ${HOME}"), "hookTemplate", "write $${HOME} for a variable of the shell",
		},
		"a shell's operator": {
			info(""), command("echo ${HOME%/*}"), "hookTemplate", "write $${HOME%/*} for a variable of the shell",
		},
		"a name that this run lacks": {
			info(""), command("${restoreSession}"), "hookTemplate",
			"${restoreSession} is not known in this kind of run",
		},
		"a brace is open":           {info(""), command("${user"), "hookTemplate", "is not closed by }"},
		"a template does not parse": {info(""), command("{{.Name"), "hookTemplate", "unclosed action"},
		"an unsupported function":   {info(""), post(`{{env "PATH"}}`), "hookTemplate", `function "env" not defined`},
		"no network from templates": {
			info(""), post(`{{getHostByName "x"}}`), "hookTemplate", `function "getHostByName" not defined`,
		},
		"a name in a template is checked": {
			info(""), post(`{{if true}}${nobody}{{end}}`), "hookTemplate", "${nobody} is neither",
		},
		"a secret in a command": {
			info("", fromSecret("TOKEN")), command("login", "${TOKEN}"), "hookTemplate",
			"comes from a Secret and would appear in a command",
		},
		"an invalid selector":              {info(""), selector, "hookTemplate", `"tier" is not key=value`},
		"a named port without a container": {info(""), named, "hookTemplate", "set containerName"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, mistakes := hook.Resolve(tt.info, tt.template, builtin, hook.Container{})
			g.Expect(mistakes).To(ContainElement(And(
				HaveField("Field", tt.field), HaveField("Message", ContainSubstring(tt.says)))))
		})
	}
}

// A template is a program of its author that runs in the manager. It must end, and must not fill memory.
func TestTemplatesAreBounded(t *testing.T) {
	double := strings.Repeat(`{{$a = printf "%s%s" $a $a}}`, 40)
	for name, body := range map[string]string{
		"strings that double": `{{$a := "xxxxxxxxxxxxxxxx"}}` + double,
		"lists that double, as JSON": `{{$a := list "x"}}` + strings.Repeat(`{{$a = list $a $a}}`, 40) +
			`{{toJson $a}}`,
		"lists that double, as they are": `{{$a := list "x"}}` + strings.Repeat(`{{$a = list $a $a}}`, 40) +
			`{{$a}}`,
		"a dict that contains itself":        `{{$a := dict}}{{$_ := set $a "a" $a}}{{toJson $a}}`,
		"a long range":                       `{{range 1000000000000}}{{end}}`,
		"nested ranges":                      `{{range 1000}}{{range 1000}}{{end}}{{end}}`,
		"a template that calls itself twice": `{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"a wide format":                      `{{printf "%1000000d%1000000d" 1 2}}`,
		"a format as wide as a value":        `{{printf "%*d" 1000000 2}}`,
		"a replacement between letters": `{{$a := "xxxxxxxxxxxxxxxx"}}` +
			strings.Repeat(`{{$a = replace "" $a $a}}`, 6),
		"much output": `{{range 9000}}{{printf "%0999d" 1}}{{end}}`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h, mistakes := hook.Resolve(info(""), post(body), builtin, hook.Container{})
			g.Expect(mistakes).To(BeEmpty())
			_, err := hook.Render(&h, nil, summary)
			g.Expect(err).To(MatchError(ContainSubstring("the template exceeds the limits of a hook")))
		})
	}
}

func TestAnErrorHoldsNoSecret(t *testing.T) {
	g := NewWithT(t)
	h, mistakes := hook.Resolve(info("", fromSecret("TOKEN")), post(`{{ fail "${TOKEN}" }}`), builtin, hook.Container{})
	g.Expect(mistakes).To(BeEmpty())
	_, err := hook.Render(&h, map[string]string{"TOKEN": "geheim\n"}, summary)
	g.Expect(err).To(MatchError(ContainSubstring("***")))
	g.Expect(err.Error()).NotTo(ContainSubstring("geheim"))
}

func TestDefaults(t *testing.T) {
	g := NewWithT(t)
	h, mistakes := hook.Resolve(info(""), command("x"), builtin, hook.Container{})
	g.Expect(mistakes).To(BeEmpty())
	g.Expect(h.Timeout.Duration).To(Equal(hook.DefaultTimeout))
	g.Expect(h.ExecutionPolicy).To(Equal(v1alpha1.HookAlways))
	g.Expect(h.Template).To(Equal(v1alpha1.ObjectReference{Namespace: "hooks", Name: "t"}))
}

func TestMayCome(t *testing.T) {
	for reason, want := range map[string]bool{
		v1alpha1.ReasonHookTemplateNotFound: true, v1alpha1.ReasonFunctionNotFound: true,
		v1alpha1.ReasonHookTemplateNotAllowed: false, v1alpha1.ReasonTargetNotFound: false, "": false,
	} {
		NewWithT(t).Expect(hook.MayCome(reason)).To(Equal(want), reason)
	}
}
