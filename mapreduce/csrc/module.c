/* The module `mapreduce._loops`: its functions and types, and what it holds on to. */

#include "loops.h"

/* one more with each change of what the rest of the package may expect; loops.py has the same */
#define EDITION 5

static int
add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL)
        return -1;
    if (PyModule_AddObject(module, name, type) < 0) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}

static int
execute(PyObject *module)
{
    fill_crc_table();
    State *state = PyModule_GetState(module);
    PyObject *zlib = PyImport_ImportModule("zlib");
    if (zlib == NULL)
        return -1;
    state->zlib_crc32 = PyObject_GetAttrString(zlib, "crc32");
    Py_DECREF(zlib);
    if (state->zlib_crc32 == NULL)
        return -1;
    if (PyModule_AddIntConstant(module, "EDITION", EDITION) < 0)
        return -1;
    return add_type(module, "Counts", &Counts_spec) < 0 ? -1 : add_type(module, "Totals", &Totals_spec);
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    if (state != NULL)
        Py_VISIT(state->zlib_crc32);
    return 0;
}

static int
clear_state(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (state != NULL)
        Py_CLEAR(state->zlib_crc32);
    return 0;
}

static void
free_state(void *module)
{
    clear_state(module);
}

static PyMethodDef functions[] = {
    {"add", add, METH_VARARGS, NULL},
    {"crc32_modulo", crc32_modulo, METH_VARARGS, NULL},
    {"distribute", distribute, METH_VARARGS, NULL},
    {"lines_by_crc32", lines_by_crc32, METH_VARARGS, NULL},
    {"sorted_by_rank", sorted_by_rank, METH_VARARGS, NULL},
    {"text_lines", text_lines, METH_VARARGS, NULL},
    {"spread", spread_of, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_loops",
    .m_size = sizeof(State),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = traverse,
    .m_clear = clear_state,
    .m_free = free_state,
};

PyMODINIT_FUNC
PyInit__loops(void)
{
    return PyModuleDef_Init(&definition);
}
