package lint

import (
	"fmt"
	"path"
	"strings"
)

const (
	clockRule  = `forbidigo/^time\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)$`
	statusRule = `forbidigo/^client\.SubResource(Writer|Client)\.(Create|Update|Patch|Apply)$|` +
		`\.(UpdateStatus|ApplyStatus)$`
)

// at returns a file with code that imports other packages. The code breaks the rule, or none if the rule is empty.
func at(rule, file, imports, code string) planted {
	name := path.Base(path.Dir(file))
	source := fmt.Sprintf("// Package %[1]s is planted.\npackage %[1]s\n\nimport %[2]s\n\n"+
		"// Do does it.\nfunc Do(%[3]s) any {\n\treturn %[4]s\n}\n", name, imports, arguments[imports], code)
	return planted{rule: rule, file: file, at: code, source: source}
}

// arguments are what planted functions get.
var arguments = map[string]string{
	`"time"`: "",
	`"fmt"`:  "",
	`"sigs.k8s.io/controller-runtime/pkg/client"`: "c client.Client",
	`"k8s.io/client-go/rest"`:                     "c rest.Pods",
}

// clocks are the ways to ask for the time of the machine.
var clocks = map[string]string{
	"now": "time.Now()", "since": "time.Since(time.Time{})", "until": "time.Until(time.Time{})",
	"sleep": "time.Sleep", "after": "time.After(1)", "afterfunc": "time.AfterFunc(1, func() {})",
	"tick": "time.Tick(1)", "timer": "time.NewTimer(1)", "ticker": "time.NewTicker(1)",
}

// plantedClocks are uses of the clock of the machine where the code must take a clock, and where it need not.
func plantedClocks() []planted {
	var out []planted
	for name, code := range clocks {
		out = append(out, at(clockRule, "internal/run/clock"+name+"/code.go", `"time"`, code))
		for _, free := range []string{
			"cmd", "e2e", "hack", "internal/program", "internal/repository", "internal/testbed",
		} {
			out = append(out, at("", free+"/clock"+name+"/code.go", `"time"`, code))
		}
		waits := name == "after" || name == "afterfunc" || name == "timer"
		for _, part := range []string{"internal/backend", "internal/mover"} {
			rule := clockRule
			if waits {
				rule = ""
			}
			out = append(out, at(rule, part+"/clock"+name+"/code.go", `"time"`, code))
		}
	}
	return append(out, at("", "internal/gitstore/clock.go", `"time"`, "time.Now()"),
		at(clockRule, "internal/gitstore/later/clock.go", `"time"`, "time.Now()"))
}

// plantedStatuses are writes of a status, and of other subresources.
func plantedStatuses() []planted {
	const client = `"sigs.k8s.io/controller-runtime/pkg/client"`
	return []planted{
		at(statusRule, "controllers/statuspatch/code.go", client, "c.Status().Patch()"),
		at(statusRule, "internal/kube/statuspatch/code.go", client, "c.Status().Patch()"),
		at(statusRule, "controllers/subresource/code.go", client, `c.SubResource("status").Update()`),
		at(statusRule, "cmd/manager/statuspatch/code.go", client, "c.Status().Patch()"),
		at(statusRule, "cmd/manager/updatestatus/code.go", `"k8s.io/client-go/rest"`, "c.UpdateStatus()"),
		at(statusRule, "cmd/manager/applystatus/code.go", `"k8s.io/client-go/rest"`, "c.ApplyStatus()"),
		at("", "controllers/scale/code.go", client, `c.SubResource("scale").Update()`),
		at("", "controllers/token/code.go", client, `c.SubResource("token").Update()`),
		at("", "internal/kube/status/code.go", client, "c.Status().Patch()"),
		at("", "internal/mover/report/code.go", client, "c.Status().Patch()"),
		at("", "internal/testbed/kubelet/code.go", client, "c.Status().Patch()"),
	}
}

// plantedExceptions are the breaks that .golangci.yml allows elsewhere: in tests, programs, and single files.
func plantedExceptions() []planted {
	const deprecated = "package %[1]s\n\nimport \"strings\"\n\n// Name is a name.\nvar Name = strings.Title(\"x\")\n"
	long := "package stories\n\nimport (\n\t\"testing\"\n\t\"time\"\n)\n\n" +
		"func TestLong(t *testing.T) {\n\tn := 0\n" + strings.Repeat("\tn++\n", 60) +
		"\tt.Log(n, time.Now())\n}\n\n" +
		"func TestDeep(t *testing.T) {\n\tfor n := range 9 {\n" +
		strings.Repeat("\t\tif n > 3 {\n\t\t\tt.Log(n)\n\t\t}\n", 13) +
		"\t}\n\tt.Log(add(1))\n}\n\nfunc TestMore(t *testing.T) {\n\tn, err := add(2)\n\tt.Log(n, err)\n}\n\n" +
		"func add(n int) (int, error) {\n\tfor range n {\n\t\tn++\n\t}\n\treturn n, nil\n}\n"
	return []planted{
		{file: "internal/stories/code_test.go", source: long + strings.Repeat("\n// More.\n", 200)},
		{file: "internal/standin/code_test.go", source: fmt.Sprintf(deprecated, "standin")},
		{file: "internal/build/collect.go", source: "// Package build builds.\n" + fmt.Sprintf(deprecated, "build")},
		{
			rule: "staticcheck", at: "Title", file: "internal/build/other/collect.go",
			source: "// Package other builds.\n" + fmt.Sprintf(deprecated, "other"),
		},
		at("", "cmd/prints/code.go", `"fmt"`, "fmt.Print"),
	}
}
