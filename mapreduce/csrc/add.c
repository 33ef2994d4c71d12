/* What the numbers of keys add up to in a dict, whatever both are. */

#include "loops.h"

/* The number at that place of bytes or of a list: a new reference. */
static PyObject *
number_at(PyObject *numbers, Py_ssize_t i)
{
    if (PyBytes_Check(numbers))
        return PyLong_FromLong((unsigned char)PyBytes_AsString(numbers)[i]);
    PyObject *number = PyList_GetItem(numbers, i);
    Py_XINCREF(number);
    return number;
}

static int
add_one(PyObject *totals, PyObject *key, PyObject *number)
{
    PyObject *known = PyDict_GetItemWithError(totals, key);
    if (known == NULL)
        return PyErr_Occurred() ? -1 : PyDict_SetItem(totals, key, number);
    PyObject *sum = PyNumber_Add(known, number);
    if (sum == NULL)
        return -1;
    int status = PyDict_SetItem(totals, key, sum);
    Py_DECREF(sum);
    return status;
}

PyObject *
add(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *totals, *keys, *numbers;
    if (!PyArg_ParseTuple(args, "O!O!O:add", &PyDict_Type, &totals, &PyList_Type, &keys, &numbers))
        return NULL;
    if (!is_column(numbers))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyObject_Size(numbers) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number for each key");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *key = PyList_GetItem(keys, i), *number = number_at(numbers, i);
        int status = -1;
        if (key != NULL && number != NULL) {
            Py_INCREF(key); /* a key's own __eq__ might change the list */
            status = add_one(totals, key, number);
            Py_DECREF(key);
        }
        Py_XDECREF(number);
        if (status < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}
