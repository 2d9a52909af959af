package main

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestOnlyTypesOfKubernetesAreTrimmed(t *testing.T) {
	g := NewWithT(t)
	got, err := trimmed([]byte(`---
a:
  description: Ours.
  properties:
    env:
      items:
        description: An environment variable.
        properties:
          name:
            description: Its name.
            type: string
          value:
            description: Its value.
          valueFrom:
            properties:
              description:
                description: A field of that name.
                type: string
      type: array
    list:
    - description: Ours, too.
`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).To(Equal(`---
a:
  description: Ours.
  properties:
    env:
      items: {properties: {name: {type: string}, value: {}, valueFrom: {properties: {description: {type: string}}}}}
      type: array
    list:
    - description: Ours, too.
`))
}
