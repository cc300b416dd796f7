\echo Use "CREATE EXTENSION pgkeymgr" to load this file. \quit
