#!/usr/bin/env python3
"""Writes json_schemas.json: schemas, and JSON texts with the verdict of the `jsonschema` package.

Run by hand when the cases change:

    python3 -m venv venv && venv/bin/pip install jsonschema
    venv/bin/python tests/golden/make_schema_golden.py

`spelled` are texts that a grammar of the schema must admit: they are valid. `others` it must not: each has its
verdict, because a grammar may leave out valid texts (another order of the members, other spacing), but must never
admit an invalid one.
"""
import importlib.metadata
import json
import pathlib

import jsonschema

ANYTHING = ['{}', '[]', '""', '0', 'true', 'null', '{"a":1}', '[1,2]', '"x"', '-1.5', '{"a":{"b":[null]}}']

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "email": {"type": "string"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {"node": {
        "type": "object",
        "properties": {"value": {"type": "integer"},
                       "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["value"],
        "additionalProperties": False,
    }},
    "$ref": "#/$defs/node",
}
LIST = {
    "type": "object",
    "properties": {"head": {"type": "integer"}, "tail": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["head", "tail"],
    "additionalProperties": False,
}
SHAPES = {"oneOf": [
    {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number"}},
     "required": ["kind", "r"], "additionalProperties": False},
    {"type": "object", "properties": {"kind": {"enum": ["square", "box"]}, "side": {"type": "number"}},
     "required": ["kind", "side"], "additionalProperties": False},
]}
ORDER = {
    "type": "object", "title": "Order", "description": "an order of a shop",
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 99999},
        "state": {"enum": ["new", "paid", "sent"]},
        "lines": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
            "type": "object",
            "properties": {"sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
                           "count": {"type": "integer", "minimum": 1, "default": 1}},
            "required": ["sku", "count"], "additionalProperties": False}},
        "note": {"type": ["string", "null"], "maxLength": 10},
    },
    "required": ["id", "state", "lines"], "additionalProperties": False,
}

# Schema, texts that are spelled so, texts that are not.
CASES = [
    # Types.
    ({"type": "object"}, ['{}', '{"a":1}', '{"a": {"b": []}, "c": "x"}', '{\n  "a": 1\n}', '{ }'],
     ['[]', '1', '{', '{"a"}', '{"a":1,}', '{a:1}', ' {}', '{}x', '""']),
    ({"type": "array"}, ['[]', '[1,"a",null]', '[[], {}]', '[\n1,\n2\n]'], ['{}', '[1,]', '[,1]', '[1 2]', '[1']),
    ({"type": "string"},
     ['""', '"abc"', '"\u00e4\u20ac\U0001F600"', '"\\n\\"\\\\\\/\\u0041\\ud83d\\ude00"', '"\\u00e9"'],
     ['abc', "'a'", '"a', '1', '"\n"', '"\\x"', '"\\u12"', '"\\u12G4"']),
    ({"type": "integer"}, ['0', '-1', '42', '123456789012345678'],
     ['1.0', '1.5', '01', '+1', '-', '1e3', '"1"', '0x1', '1.']),
    ({"type": "number"}, ['0', '-0', '1.5', '-0.25', '1e10', '1.5E-3', '2.50'],
     ['.5', '1.', '1e', '--1', '01.5', 'NaN', 'Infinity', '"1"', '1e+', 'true']),
    ({"type": "boolean"}, ['true', 'false'], ['True', '0', 'null', '"true"', 'tru']),
    ({"type": "null"}, ['null'], ['nul', '0', '""', 'None']),
    ({"type": ["string", "null"]}, ['"a"', 'null'], ['1', '[]', 'true']),
    ({"type": ["integer", "boolean"]}, ['7', 'false'], ['7.5', '"7"', 'null']),
    ({"type": ["number"]}, ['7', '7.5'], ['"7"']),
    ({}, ANYTHING, ['', 'undefined', '[1', '{"a"}']),
    (True, ANYTHING, ['', 'x']),
    ({"title": "t", "description": "d", "default": 1, "examples": [1, 2], "$comment": "c", "deprecated": True},
     ANYTHING, ['nope']),
    # Lists of values.
    ({"enum": ["a", "b\u00fc", "c\"d", 1, 1.5, True, None, [1, 2], {"k": "v"}]},
     ['"a"', '"b\u00fc"', '"c\\"d"', '1', '1.5', 'true', 'null', '[1,2]', '{"k":"v"}'],
     ['"b"', '2', 'false', '[2,1]', '{}', '{"k":"w"}', '"a', '1.50', '[1, 2]']),
    ({"enum": ["red", "green"], "type": "string"}, ['"red"', '"green"'], ['"blue"', 'red', '"redgreen"']),
    ({"enum": [1, "1", 2.5], "type": "integer"}, ['1'], ['"1"', '2.5', '2']),
    ({"const": "x"}, ['"x"'], ['"y"', 'x', '"xx"']),
    ({"const": 0}, ['0'], ['1', 'false', '"0"']),
    ({"const": {"a": [1, {"b": None}]}}, ['{"a":[1,{"b":null}]}'], ['{"a":[1]}', '{}']),
    ({"const": "line\nend\ttab\u0001"}, ['"line\\nend\\ttab\\u0001"'], ['"line"']),
    # Strings.
    ({"type": "string", "minLength": 2}, ['"ab"', '"\u00e4\u00f6"', '"abcdefg"', '"\\n\\n"', '"\\ud83d\\ude00a"'],
     ['"a"', '""', '"\u20ac"', '"\\ud83d\\ude00"', '"\\u0041"']),
    ({"type": "string", "maxLength": 3}, ['""', '"abc"', '"\u20ac\u20ac\u20ac"', '"\\u0041\\t\\""'],
     ['"abcd"', '"\\u0041bcd"', '"\U0001F600\U0001F600\U0001F600\U0001F600"']),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ['"a"', '"ab"'], ['""', '"abc"']),
    ({"type": "string", "minLength": 0, "maxLength": 0}, ['""'], ['"a"']),
    ({"minLength": 2}, ['"ab"'], ['"a"', '1', 'null']),
    ({"type": "string", "pattern": "^[a-z]+$"}, ['"abc"', '"z"'], ['""', '"aB"', '"a1"', '" a"']),
    ({"type": "string", "pattern": "[0-9]"}, ['"a1b"', '"1"', '"x9"'], ['"ab"', '""']),
    ({"type": "string", "pattern": "^a"}, ['"a"', '"abc"'], ['"ba"', '""']),
    ({"type": "string", "pattern": "z$"}, ['"z"', '"abz"'], ['"za"', '""']),
    ({"type": "string", "pattern": "^(yes|no)$"}, ['"yes"', '"no"'], ['"yesno"', '"y"']),
    ({"type": "string", "pattern": "^a|b$"}, ['"ax"', '"xb"', '"a"'], ['"xa"', '"bx"']),
    ({"type": "string", "pattern": "^\"\\\\$"}, ['"\\"\\\\"'], ['""', '"\\""', '"\\\\"']),
    ({"type": "string", "pattern": "^\\d{3}-\\d{4}$"}, ['"555-1234"'], ['"5551234"', '"555-123"', '"555-12345"']),
    ({"type": "string", "pattern": "^.{2}$"},
     ['"ab"', '"\u20ac\u00e4"', '"\\"\\\\"', '"\\ta"'], ['"a"', '"abc"', '"a\\n"']),
    ({"pattern": "^x+$"}, ['"xx"'], ['""', '5']),
    ({"type": "string", "format": "date"}, ['"2024-02-28"', '"1999-12-31"', '"2000-06-30"'],
     ['"2024-2-28"', '"2024-13-01"', '"2023-02-30"', '"2023-04-31"', '"date"', '"2024-01-00"']),
    ({"type": "string", "format": "date-time"}, ['"2024-05-06T07:08:09Z"', '"2024-05-06T07:08:09.25+02:00"'],
     ['"2024-05-06 07:08:09Z"', '"2024-05-06T25:08:09Z"', '"2024-05-06T07:08:09"']),
    ({"type": "string", "format": "time"}, ['"07:08:09Z"', '"23:59:59-05:30"'], ['"24:00:00Z"', '"7:08:09Z"']),
    ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'],
     ['"123e4567e89b12d3a456426614174000"', '"123e4567-e89b-12d3-a456-42661417400g"']),
    ({"type": "string", "format": "ipv4"}, ['"127.0.0.1"', '"255.249.10.0"'], ['"256.0.0.1"', '"1.2.3"', '"01.2.3.4"']),
    ({"type": "string", "format": "email"}, ['"a.b+c@example.co.uk"'], ['"a@b@"', '"nobody"', '"a b@example.com"']),
    # Numbers.
    ({"type": "integer", "minimum": 0}, ['0', '7', '123456'], ['-1', '1.5', '-0']),
    ({"type": "integer", "minimum": -12, "maximum": 105}, ['-12', '-9', '0', '99', '105', '100'],
     ['-13', '106', '-100', '999', '1050']),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6}, ['4', '5'], ['3', '6', '-4', '45']),
    ({"type": "integer", "minimum": 0.5, "maximum": 3.5}, ['1', '2', '3'], ['0', '4']),
    ({"type": "integer", "minimum": -105, "maximum": -98},
     ['-105', '-100', '-99', '-98'], ['-97', '-106', '98', '-10']),
    ({"type": "integer", "minimum": 1000000, "maximum": 1000000}, ['1000000'], ['999999', '1000001']),
    ({"type": "integer", "maximum": 9, "exclusiveMaximum": 5}, ['4', '-123'], ['5', '9', '10']),
    ({"type": "number", "minimum": 0, "maximum": 1}, ['0', '1', '0.5', '1.0', '0.000001', '1.000'],
     ['-0.1', '1.1', '1.000001', '2']),
    ({"type": "number", "exclusiveMinimum": 0}, ['0.5', '1', '0.01', '123.25'], ['0', '0.0', '-1', '0.000']),
    ({"type": "number", "exclusiveMaximum": 10}, ['9.999999', '-5.5', '0', '9'], ['10', '10.0', '10.5', '11']),
    ({"type": "number", "minimum": -2, "exclusiveMaximum": -1}, ['-2', '-1.5', '-2.0', '-1.000001'],
     ['-1', '-2.5', '0', '1.5', '-1.0']),
    ({"type": "number", "minimum": -1, "maximum": 1}, ['-1', '-0.5', '0', '0.25', '1', '-0'], ['-1.5', '1.5', '2']),
    ({"minimum": 3, "maximum": 3}, ['3', '3.0'], ['2', '4', '3.1', '"3"']),
    # Arrays.
    ({"type": "array", "items": {"type": "integer"}}, ['[]', '[1]', '[1,2, 3]'], ['["a"]', '[1,"a"]', '[1.5]', '[1,]']),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1}, ['["a"]', '["a","b","c"]'], ['[]', '[1]']),
    ({"type": "array", "maxItems": 2}, ['[]', '[1]', '[1,"b"]'], ['[1,2,3]', '[1,2,]']),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
     ['[true,false]', '[true,true,true]'],
     ['[]', '[true]', '[true,true,true,true]']),
    ({"type": "array", "maxItems": 0}, ['[]', '[ ]'], ['[1]']),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
     ['[1,"a"]'], ['["a",1]', '[1]', '[1,"a",2]']),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
     ['[]', '[1]', '[1,"a","b"]'], ['["a"]', '[1,2]']),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ['[]', '[1]'], ['[1,2]', '["a"]']),
    ({"type": "array", "prefixItems": [{"const": 1}], "minItems": 3},
     ['[1,2,"x"]', '[1,null,[],{}]'], ['[1]', '[2,2,2]']),
    ({"items": {"enum": [1, 2]}}, ['[1,2,1]', '[]'], ['[3]', '5', '{}']),
    ({"type": "array", "items": {"type": "array", "items": {"type": "null"}, "maxItems": 1}},
     ['[]', '[[],[null]]'], ['[null]', '[[null,null]]']),
    # Objects.
    (PERSON, ['{"name":"A","age":3}', '{"name": "A", "age": 3, "email": "e"}', '{\n  "name": "A",\n  "age": 3\n}'],
     ['{}', '{"name":"A"}', '{"age":3,"name":"A"}', '{"name":1,"age":3}', '{"name":"A","age":"3"}',
      '{"name":"A","age":3,"x":1}', '{"name":"A","age":3,}', '{"name":"A" "age":3}', '{"name":"A","age":3.5}']),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}},
      "additionalProperties": False},
     ['{}', '{"a":1}', '{"b":1}', '{"c":1}', '{"a":1,"c":2}', '{"a":1,"b":2,"c":3}', '{"b":1,"c":2}'],
     ['{"b":1,"a":2}', '{"d":1}', '{,"a":1}', '{"a":1,,"b":2}']),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["b"]},
     ['{"b":1}', '{"a":1,"b":2}'], ['{}', '{"a":1}', '{"b":1,"c":2}', '{"b":"x"}']),
    ({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True},
     ['{}', '{"a":1}', '{"a":1,"x":[],"y":{}}', '{"b":"q"}', '{"aa":"x"}', '{"\u00e4":1}'],
     ['{"a":"x"}', '{"x":1,"a":"x"}', '{"x":}']),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ['{}', '{"x":1,"yy":2}'], ['{"x":"1"}', '[]']),
    ({"type": "object", "properties": {"ab": {"const": 1}, "abc": {"const": 2}},
      "additionalProperties": {"type": "string"}},
     ['{"ab":1,"abc":2,"a":"s","abcd":"s"}', '{"b":"x"}'],
     ['{"ab":"s"}', '{"abc":"s"}', '{"a":"s","ab":"s"}', '{"x":1}']),
    ({"type": "object", "required": ["x", "y"]}, ['{"x":1,"y":[]}', '{"x":1,"y":2,"z":3}'], ['{}', '{"x":1}']),
    ({"type": "object", "properties": {"a": True}, "required": ["a", "b"]}, ['{"a":1,"b":2}'], ['{"a":1}']),
    ({"type": "object", "properties": {}, "additionalProperties": False}, ['{}'], ['{"a":1}']),
    ({"properties": {"a": {"type": "integer"}}}, ['{}', '{"a":1}'], ['{"a":"x"}', '3', '[]']),
    ({"type": "object", "properties": {"we\"ird \\ n\u00e4me\n": {"const": 1}}, "additionalProperties": False},
     ['{"we\\"ird \\\\ n\u00e4me\\n":1}', '{}'], ['{"weird":1}']),
    ({"type": "object", "properties": {"gone": False, "kept": {"const": 1}}, "additionalProperties": False},
     ['{}', '{"kept":1}'], ['{"gone":1}', '{"gone":1,"kept":1}']),
    # Combinations and references.
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}]}, ['5', '"ab"'], ['"abc"', '5.5', 'null']),
    ({"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
                {"type": "object", "properties": {"a": {"const": 2}, "b": {"const": 3}}, "required": ["a"]}]},
     ['{"a":1}', '{"a":2}', '{"a":2,"b":3}'], ['{"a":3}', '{}', '{"a":1,"b":4}']),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ['5', '"a"'], ['null', '5.5']),
    ({"oneOf": [{"const": 1}, {"enum": [2, 3]}]}, ['1', '2', '3'], ['4']),
    (SHAPES, ['{"kind":"circle","r":1.5}', '{"kind":"box","side":2}'],
     ['{"kind":"circle","side":1}', '{"kind":"cube","side":1}', '{"kind":"square"}']),
    ({"allOf": [{"type": "integer"}], "description": "as some generators write references"}, ['5'], ['"5"']),
    ({"$defs": {"i": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/i"}}, ['[1,2]'], ['["a"]']),
    ({"definitions": {"a/b": {"$ref": "#/definitions/c~0d"}, "c~d": {"const": 7}}, "$ref": "#/definitions/a~1b"},
     ['7'], ['8']),
    (TREE, ['{"value":1}', '{"value":1,"children":[]}',
            '{"value":1,"children":[{"value":2,"children":[{"value":3}]},{"value":4}]}'],
     ['{}', '{"value":1,"children":[1]}', '{"value":1,"children":[{}]}']),
    (LIST,
     ['{"head":1,"tail":null}', '{"head":1,"tail":{"head":2,"tail":null}}'], ['{"head":1}', '{"head":1,"tail":1}']),
    ({"anyOf": [{"$ref": "#"}, {"const": 1}]}, ['1'], ['2']),
    ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}},
     ['{"a":"x","b":"y"}'], ['{"b":1}']),
    ({"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "integer"}]},
     ['[[1,[]],2]', '3'], ['["a"]', '[[1.5]]']),
    (ORDER, ['{"id":1,"state":"new","lines":[{"sku":"AB-123","count":2}]}',
             '{"id": 99999, "state": "sent", "lines": [{"sku": "ZZ-000", "count": 10}, {"sku": "AA-001", "count": 1}], '
             '"note": null}'],
     ['{"id":0,"state":"new","lines":[{"sku":"AB-123","count":2}]}', '{"id":1,"state":"old","lines":[]}',
      '{"id":1,"state":"new","lines":[]}', '{"id":1,"state":"new","lines":[{"sku":"A-123","count":2}]}',
      '{"id":1,"state":"new","lines":[{"sku":"AB-123","count":0}]}',
      '{"id":1,"state":"new","lines":[{"sku":"AB-123","count":1}],"note":"12345678901"}']),
]


def verdict(schema, text):
    """Is the text JSON, and valid? Formats count, as far as the package knows them without more packages."""
    try:
        value = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return None
    validator = jsonschema.Draft202012Validator(schema,
                                                format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    return validator.is_valid(value)


def main():
    cases = []
    for schema, spelled, others in CASES:
        for text in spelled:
            # A reference to itself beside an alternative: the package recurses without end.
            if schema != {"anyOf": [{"$ref": "#"}, {"const": 1}]} and verdict(schema, text) is not True:
                raise SystemExit(f"not valid: {text} for {json.dumps(schema)}")
        if schema == {"anyOf": [{"$ref": "#"}, {"const": 1}]}:
            verdicts = {text: False for text in others}
        else:
            verdicts = {text: verdict(schema, text) for text in others}
        cases.append({"schema": schema, "spelled": spelled,
                      "others": [{"text": text, "valid": valid} for text, valid in verdicts.items()]})
    made_by = {"script": pathlib.Path(__file__).name, "jsonschema": importlib.metadata.version("jsonschema")}
    out = pathlib.Path(__file__).with_name("json_schemas.json")
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    out.write_text(f'{{"made_by": {json.dumps(made_by)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")
    texts = sum(len(case["spelled"]) + len(case["others"]) for case in cases)
    print(f"{out.name}: {len(cases)} schemas, {texts} texts, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
