module github.com/cairn-backup/cairn/hack/supply

go 1.26.0

require (
	github.com/google/licensecheck v0.3.1
	github.com/onsi/gomega v1.44.0
	golang.org/x/mod v0.42.0
	golang.org/x/vuln v1.9.0
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/telemetry v0.0.0-20261010193011-f71dc92da45e // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
)
